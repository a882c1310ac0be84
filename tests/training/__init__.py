"""Tests of multitudes.training."""
