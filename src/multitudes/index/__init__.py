"""Vector search: the protocol of an index, exact and approximate indexes on FAISS. No torch."""
