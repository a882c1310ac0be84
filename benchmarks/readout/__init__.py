"""Error rates of a readout, and the cost of a large one: ``python -m benchmarks.readout``, one JSON file.

Beside every claim is a control that breaks it: repeated looks at an interval for one look, rows taken as the units in
place of users, no test for sample ratio mismatch.
"""
