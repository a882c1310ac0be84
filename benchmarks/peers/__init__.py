"""Comparison with other libraries: the same prepared data, each in its own process, one evaluator.

``python -m benchmarks.peers`` exports the training events and the held-out users' histories as plain arrays
(``exchange``), lets every peer train and write lists in a virtual environment of its own, trains our methods, and
evaluates all lists alike. A peer is never a dependency: they exchange files only.
"""
