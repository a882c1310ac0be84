"""How fast and how large: ``python -m benchmarks [name …]``, one file per subject, one JSON file per run.

A subject is a module with ``FULL`` and ``QUICK`` (its sizes) and ``measure(sizes, folder, progress)``, which returns
its figures as JSON has them. Nothing here asserts a time.
"""

SEED = 0  # of every draw in every subject
