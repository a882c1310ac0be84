"""The simulated world beside public data sets, and its speed: ``python -m benchmarks.simulate``.

One JSON file; ``python -m benchmarks.simulate.page docs/simulation-figures.md`` writes its figures into the page.
"""
