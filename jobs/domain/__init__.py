"""Example domains, free of Spark: what may happen (decide), and what it comes to (evolve)."""
