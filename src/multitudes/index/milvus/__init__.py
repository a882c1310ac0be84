"""The same index over a Milvus server, for corpora that one machine does not hold. Needs the extra ``milvus``."""
