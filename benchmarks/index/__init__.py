"""Nearest-neighbour search at scale: ``python -m benchmarks.index``.

``corpus`` makes vectors of a known structure, ``world`` a corpus with topics, users and exact answers. ``files``,
``requests`` and ``changes`` each measure one thing in a process of their own, and ``run`` calls what is not done yet.
``page`` writes records/index.md.
"""
