"""What holds when things go wrong: ``python -m reliability [name …]``, one file per trial, one JSON file of results.

A trial is a module with ``trial(scale, folder, progress)``; it does harm on purpose, counts what came of it, and does
the same to a naive variant, the control, which must fail: else the trial would show nothing. ``scale`` = 1 is the full
size; less makes everything smaller. Servers listen on loopback, on ports that the system gives, and are ended by who
started them.
"""

SEED = 0  # of every draw in every trial
