"""Spark beside DuckDB: the same bytes, and what they cost."""
