"""How the resources of a large service grow with its size: tables, preparing, batch recommendations.

``python -m benchmarks.scale``; ``python -m benchmarks.scale.page`` writes the figures into records/scale.md.
"""
