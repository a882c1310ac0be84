"""The settings of an index in PostgreSQL. Where the server is and who asks, the variables of libpq say."""

from pydantic import Field

from multitudes.config import Config


class PgvectorConfig(Config):
    """``[index.options]`` with ``kind = "pgvector"``: how tables are made, searched and kept."""

    name: str = Field(
        "multitudes",
        pattern=r"^[a-z_][a-z0-9_]{0,29}$",
        description="View by which other programs find the current table, and with which all names begin. Each folder"
        " of releases needs one of its own.",
    )
    timeout_s: float = Field(
        2.0, gt=0, le=86_400, description="Longest that a search or a change may take, with its retry."
    )
    publish_timeout_s: float = Field(3600.0, gt=0, le=86_400, description="Longest that building a table may take.")
    graph_above: int = Field(
        50_000, ge=0, description="Items above which a graph (HNSW) is built; up to it every item is scored."
    )
    links: int = Field(16, ge=2, le=100, description="HNSW: links of each vector (m); more memory, better recall.")
    construction: int = Field(200, ge=4, le=1000, description="HNSW: candidates while building (ef_construction).")
    kept: int = Field(2, ge=0, description="Older tables that stay, so that their releases can serve again.")
    grace_s: float = Field(60.0, ge=0, description="A table younger than this is never dropped.")
