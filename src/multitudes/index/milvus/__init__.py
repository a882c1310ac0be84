"""An index on a Milvus server, for corpora that do not fit one machine. Needs the extra ``milvus``."""
