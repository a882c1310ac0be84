"""How often a readout errs, and what a large one costs: ``python -m benchmarks.readout``, one JSON file.

Every claim stands beside a control that breaks it: looking again and again at an interval for one look, taking rows for
users, not asking whether the arms are as large as planned.
"""
