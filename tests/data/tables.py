"""A small data set whose columns tests change one at a time, and helpers that prepare it."""

from pathlib import Path
from typing import Any

import polars as pl

from multitudes.data.clean.events import EventRules
from multitudes.data.clean.tables import CleanData, clean_tables
from multitudes.data.duck import open_engine
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData

NOW = 2_000_000_000


def events(**changed: Any) -> pl.DataFrame:
    """Six events of two users: four of user 1, two of user 2."""
    columns = {
        "user_id": [1, 1, 1, 1, 2, 2],
        "item_id": [10, 20, 30, 10, 20, 30],
        "timestamp": [100, 200, 300, 400, 150, 450],
    }
    return pl.DataFrame({**columns, **changed})


def items(**changed: Any) -> pl.DataFrame:
    columns = {"item_id": [10, 20, 30], "topics": [["art"], ["art", "food"], ["sea"]]}
    return pl.DataFrame({**columns, **changed})


def users(**changed: Any) -> pl.DataFrame:
    columns = {"user_id": [1, 2], "followed_topics": [["food", "art"], ["sea"]]}
    return pl.DataFrame({**columns, **changed})


def write(folder: Path, **tables: pl.DataFrame | None) -> Path:
    """Write the small world with some tables replaced (None leaves one out) and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in ({"events": events(), "items": items(), "users": users()} | tables).items():
        if table is not None:
            table.write_parquet(folder / f"{name}.parquet")
    return folder


def cleaned(folder: Path, *queries: str, share: float = 0.0) -> tuple[CleanData, list[pl.DataFrame]]:
    """Return what ``clean_tables`` says of the tables in ``folder``, and what the queries select afterwards."""
    with open_engine(folder, "500MB", 1) as connection:
        found = clean_tables(connection, folder, EventRules(("hide",), share, NOW))
        return found, [connection.frame(query) for query in queries]


def prepared(folder: Path, name: str = "out", **settings: Any) -> PreparedData:
    """Prepare the tables in ``folder`` as its subfolder ``name``."""
    config = PrepareConfig.model_validate({"split": "leave_one_out", "threads": 1, **settings})
    return prepare(folder, folder / name, config, now=NOW)
