"""The HTTP service: middlewares, routes, and the engine that answers batches. It needs no torch."""
