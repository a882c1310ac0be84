"""Benchmarks of speed, memory and quality: a module or a package for each subject. Nothing here asserts a time."""

SEED = 0  # of all random draws
