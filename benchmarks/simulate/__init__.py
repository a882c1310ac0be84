"""What the simulated world is like beside public data sets, and how fast it is: ``python -m benchmarks.simulate``.

One JSON file; ``python -m benchmarks.simulate.page docs/simulation.md`` writes its figures into the page.
"""
