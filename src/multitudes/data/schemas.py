"""The canonical tables: their columns, and the role of each column.

A role decides the types that a column may have in a file, its type after reading, the SQL that converts to it, and the
advice if the column has another type.
"""

from collections.abc import Mapping
from typing import Literal

import polars as pl

ColumnRole = Literal["id", "key", "time", "text", "number", "flag", "texts", "vector"]
COLUMN_ROLES: Mapping[str, Mapping[str, ColumnRole]] = {
    "events": {
        "user_id": "id",
        "item_id": "id",
        "timestamp": "time",
        "action": "text",
        "rating": "number",
        "source_interest": "text",
        "valid": "flag",
        "event_id": "key",
        "request_id": "key",
    },
    "items": {"item_id": "id", "topics": "texts", "title": "text", "embedding": "vector"},
    "users": {"user_id": "id", "followed_topics": "texts"},
    # Not part of a data set: candidates that a service served, and items to remove from a release.
    "served": {
        "request_id": "key",
        "user_id": "id",
        "item_id": "id",
        "timestamp": "time",
        "rank": "number",
        "condition": "text",
    },
    "item_ids": {"item_id": "id"},
    # Of an experiment: the arm that each user was shown, and the outcomes of users before and after.
    "exposures": {"user_id": "id", "arm": "key", "timestamp": "time", "cohort": "key"},
    "outcomes": {"user_id": "id", "timestamp": "time", "metric": "key", "value": "number"},
}
REQUIRED_COLUMNS: Mapping[str, frozenset[str]] = {
    "events": frozenset({"user_id", "item_id", "timestamp"}),
    "items": frozenset({"item_id", "topics"}),
    "users": frozenset({"user_id", "followed_topics"}),
    "served": frozenset({"user_id", "item_id", "timestamp", "condition"}),
    "item_ids": frozenset({"item_id"}),
    "exposures": frozenset({"user_id", "arm", "timestamp"}),
    "outcomes": frozenset({"user_id", "timestamp", "metric", "value"}),
}
SQL_TYPE: Mapping[ColumnRole, str] = {
    "key": "VARCHAR",
    "time": "BIGINT",
    "text": "VARCHAR",
    "number": "DOUBLE",
    "flag": "BOOLEAN",
    "texts": "VARCHAR[]",
    "vector": "FLOAT[]",
}
_POLARS_TYPES: Mapping[ColumnRole, tuple[pl.DataType, ...]] = {
    "id": (pl.Int64(), pl.String()),
    "key": (pl.String(),),
    "time": (pl.Int64(),),
    "text": (pl.String(),),
    "number": (pl.Float64(),),
    "flag": (pl.Boolean(),),
    "texts": (pl.List(pl.String),),
    "vector": (pl.List(pl.Float32),),
}
EXPECTED_TYPES: Mapping[ColumnRole, str] = {
    "id": "int64 or string, because a number with a fraction cannot tell large ids apart. Write the ids as integers or"
    " text",
    "key": "text or a number. Convert with CAST({0} AS VARCHAR)",
    "time": "int64 seconds or a timestamp type. Convert with CAST(epoch({0}) AS BIGINT), or parse the text first",
    "text": "text. Convert with CAST({0} AS VARCHAR)",
    "number": "a number. Convert with CAST({0} AS DOUBLE)",
    "flag": "true or false. Convert with CAST({0} AS BOOLEAN)",
    "texts": "a list of texts. Convert with string_split({0}, '|') in DuckDB or pl.col('{0}').str.split('|') in Polars",
    "vector": "a list of numbers of one width. Convert with CAST({0} AS FLOAT[])",
}


def short_expectation(role: ColumnRole) -> str:
    """Return the expected type of a column, without the advice."""
    return EXPECTED_TYPES[role].split(". ", maxsplit=1)[0].split(", because", maxsplit=1)[0]


def first_wrong_column(table: str, found: pl.Schema) -> str | None:
    """Return the first column of a table that is missing or, after reading, not of its type; None: all are right."""
    roles = COLUMN_ROLES[table]
    missing = [column for column in roles if column in REQUIRED_COLUMNS[table] and column not in found]
    wrong = [column for column, role in roles.items() if column in found and found[column] not in _POLARS_TYPES[role]]
    return next(iter([*missing, *wrong]), None)
