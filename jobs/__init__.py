"""Stream-processing patterns as Spark Structured Streaming jobs: one file here is one pattern."""
