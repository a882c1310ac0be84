"""An index of multitudes in PostgreSQL, with the extension pgvector; docs/pgvector.md."""

__version__ = "0.1.0"
