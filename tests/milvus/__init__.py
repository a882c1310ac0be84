"""Tests of the Milvus index against a real server."""
