"""How what a large service needs grows with its size: tables, preparing, answering everybody.

``python -m benchmarks.scale``; ``python -m benchmarks.scale.page`` writes the figures into docs/scale.md.
"""
