"""When several vectors pay: planted worlds by corpus size, width, skew and overlap, and where real sets lie.

``python -m benchmarks.phase`` measures each cell, ``python -m benchmarks.phase.page`` draws docs/phase.md. Nothing is
trained: ``world`` plants items and users, ``vectors`` finds a user's one vector, ``cell`` makes and judges lists.
"""
