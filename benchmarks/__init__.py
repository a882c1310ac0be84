"""Benchmarks of speed and memory: ``python -m benchmarks [name …]``, one module per subject, one JSON file per run.

A subject is a module with its sizes ``FULL`` and ``QUICK`` and a function ``measure(sizes, folder, progress)`` that
returns its figures as JSON values. Nothing here asserts a time.
"""

SEED = 0  # of all random draws
