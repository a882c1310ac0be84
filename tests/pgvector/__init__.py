"""Tests of the index in PostgreSQL against a real server."""
