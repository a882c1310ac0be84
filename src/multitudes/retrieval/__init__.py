"""A user becomes candidates: allocate, search, filter, blend. No torch, no HTTP."""
