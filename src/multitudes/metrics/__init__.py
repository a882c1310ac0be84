"""Ranking metrics and intervals, in NumPy."""
