"""Statistics of real experiments: what moved, for whom, and what cannot be said yet. DuckDB, NumPy and SciPy alone."""
