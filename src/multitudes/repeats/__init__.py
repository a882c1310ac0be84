"""Repeat consumption: which items of their own history users return to, and how often; NumPy and SciPy alone."""
