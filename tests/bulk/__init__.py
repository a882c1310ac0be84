"""Tests of answering everybody."""
