"""From the tables as they were read to tables that hold what they promise, with every repair counted.

========== =========================================================================================================
item       item_id, title, embedding (finite or null), usable (has topics or an embedding), and feature columns
item_topic item_id, topic, place (in the order of the list)
topic      topic, number (from 1, by name)
event      file_row, user_id, item_id, time, action, rating, source, known (the item is), negative, flagged, valid
known_from user_id, time: the moment at which the user's follows are known
member     user_id, number (from 0, by id), and feature columns; every user of either table
follow     user_id, topic, place; only topics that an item has
========== =========================================================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from multitudes.data import tables
from multitudes.data.clean import events, items, users
from multitudes.data.clean.events import Rules
from multitudes.data.engine import value
from multitudes.data.tables import Table
from multitudes.ids import IdKind
from multitudes.progress import Progress, silent


@dataclass(frozen=True)
class Clean:
    """What is known once the tables stand."""

    tables: Mapping[str, Table]
    kinds: Mapping[str, IdKind]
    repairs: Mapping[str, int]
    warnings: tuple[str, ...]
    ordered_only: bool
    embedding_width: int


def clean(connection: duckdb.DuckDBPyConnection, data: Path, rules: Rules, progress: Progress = silent) -> Clean:
    """Read the folder ``data`` and build the tables above in the engine.

    Raises:
        DataError: something cannot be repaired without guessing.
        UsageError: ``data`` is no folder.
    """
    files, found = tables.find(data), {}
    for done, (name, file) in enumerate(files.items()):
        progress(done, len(files) + 2, f"reading {file.name}")
        found[name] = tables.load(connection, name, file)
    kinds = {column: tables.id_kind(connection, found, column) for column in ("user_id", "item_id")}
    progress(len(files), len(files) + 2, "checking items")
    repairs, width = items.clean(connection, found.get("items"))
    progress(len(files) + 1, len(files) + 2, "checking events")
    repairs |= events.clean(connection, found["events"], rules)
    repairs |= users.clean(connection, found.get("users"))
    return Clean(
        tables=found,
        kinds=kinds,
        repairs={name: count for name, count in repairs.items() if count},
        warnings=tuple(_warnings(connection, found)),
        ordered_only=events.is_order_only(connection),
        embedding_width=width,
    )


def _warnings(connection: duckdb.DuckDBPyConnection, found: Mapping[str, Table]) -> list[str]:
    warnings = []
    if "items" not in found:
        warnings.append("there is no items table: items are those of the events, without topics or features")
    elif not value(connection, "SELECT bool_or(usable) FROM item"):
        warnings.append("no item has topics or an embedding: validity follows from actions and flags only")
    if "users" not in found:
        warnings.append("there is no users table: nobody follows anything")
    elif not value(connection, "SELECT count(*) FROM follow"):
        warnings.append("no user follows a topic that an item has: there will be no explicit interests")
    return warnings
