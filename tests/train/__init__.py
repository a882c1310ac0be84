"""Tests of multitudes.train."""
