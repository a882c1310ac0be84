"""Tests of the release folder and its store."""
