"""Enrichment: columns that an event gets from somewhere else, in steps, and what became of each step for each row."""
