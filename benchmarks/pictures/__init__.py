"""The pictures of docs/methods: ``python -m benchmarks.pictures [name …] [--work FOLDER]``.

Each shows what a method makes of one user of a planted world (``user``): the items of the history in the plane of their
first two principal components (``plane``); the shape is the taste that planted an event, the colour the interest to
which the method gave it, and crosses are where the user's vectors point (``chart``).
"""
