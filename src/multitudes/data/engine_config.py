"""Which SQL engine prepares the tables: DuckDB on this machine, or that of a plugin, such as a cluster's."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

from multitudes.config import PluggableConfig
from multitudes.data.duck import open_engine
from multitudes.data.engine import Engine, EngineKind


class EngineConfig(PluggableConfig):
    """Section ``[engine]``: the SQL engine of ``prepare``. No setting changes the result."""

    section = "engine"
    group = "sql_engines"
    built_in = ("duckdb",)
    add_ons = ("spark",)

    kind: str = Field("duckdb", description="duckdb: this machine; spark: a cluster, with the add-on multitudes-spark.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Settings of a kind that an add-on brings, such as the address of a cluster."
    )


@contextmanager
def open_configured_engine(
    config: EngineConfig | None, memory_limit: str, threads: int, beside: Path | None = None
) -> Iterator[Engine]:
    """Yield an engine; without ``config`` DuckDB, with a memory limit and threads.

    Its temporary files are in the folder ``beside``, by default the system's, and are deleted at the end.
    """
    config = config or EngineConfig()
    with tempfile.TemporaryDirectory(prefix="multitudes-engine-", dir=beside) as scratch:
        if config.kind in config.built_in:
            with open_engine(Path(scratch), memory_limit, threads) as engine:
                yield engine
            return
        kind: EngineKind = config.plugin()
        with kind.open(Path(scratch), config.parse_options()) as engine:
            yield engine
