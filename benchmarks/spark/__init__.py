"""Spark against DuckDB: equal bytes, and their cost."""
