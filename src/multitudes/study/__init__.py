"""Benchmark studies: a grid of methods × data sets × seeds under equal conditions, read from one TOML file."""
