"""An index on a Milvus server, for corpora that do not fit one machine; ``[index] kind = "milvus"`` names it."""

__version__ = "0.1.0"
