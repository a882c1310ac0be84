"""The simulated world beside public data sets, and its speed: ``python -m benchmarks.simulate``.

One JSON file; ``python -m benchmarks.simulate.page records/simulated-world.md`` writes its figures into the page.
"""
