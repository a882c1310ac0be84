"""Vector search: a small protocol, an exact reference, the embedded default. No torch."""
