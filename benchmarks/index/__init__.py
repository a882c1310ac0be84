"""Nearest-neighbour search at scale: ``python -m benchmarks.index``, and the small subject ``index`` of ``make bench``.

``corpus`` makes vectors of a known structure, ``world`` a corpus with topics, users and exact answers. ``files``,
``requests``, ``threads``, ``changes`` and ``curve`` each measure one thing in a process of their own, and ``run`` calls
what is not done yet. ``goals`` holds the figures to what was asked for, ``page`` writes docs/index.md. ``runs`` holds
the stated recall to the vectors of trained runs, and ``tried`` repeats the small experiments that the page speaks of.
"""

from benchmarks.index.subject import FULL, QUICK, measure

__all__ = ["FULL", "QUICK", "measure"]
