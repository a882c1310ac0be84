"""Vector search: the protocol of an index, exact and approximate indexes on FAISS, and a Milvus client. No torch."""
