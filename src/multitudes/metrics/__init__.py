"""Ranking metrics, confidence intervals and tests of significance, in NumPy."""
