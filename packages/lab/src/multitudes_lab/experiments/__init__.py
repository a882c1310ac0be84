"""Statistics of online experiments: lifts with intervals, over all users and by cohort. Needs DuckDB, NumPy, SciPy."""
