"""Tests of multitudes.batches."""
