"""Benchmarks: `python -m benchmarks`; results are JSON with the machine, versions and seeds."""
