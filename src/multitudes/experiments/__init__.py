"""Statistics of online experiments: lifts with intervals, for everybody and by cohort. Uses DuckDB, NumPy and SciPy."""
