"""The canonical tables: their columns, and the role of each column.

A role decides the types that a column may have in a file, its type after reading, the SQL that converts to it, and the
advice if the column has another type.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import polars as pl

if TYPE_CHECKING:
    import pandera.polars as pa

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
_POLARS_TYPE: Mapping[ColumnRole, pl.DataType] = {
    "key": pl.String(),
    "time": pl.Int64(),
    "text": pl.String(),
    "number": pl.Float64(),
    "flag": pl.Boolean(),
    "texts": pl.List(pl.String),
    "vector": pl.List(pl.Float32),
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


def first_schema_error(table: str, empty: pl.DataFrame) -> tuple[str, str] | None:
    """Check the columns of a table after reading.

    Args:
        table: a name in ``COLUMN_ROLES``.
        empty: the table without its rows.

    Returns:
        The first wrong column and the type that was expected, "missing" for a column that is absent; None if all are
        right.
    """
    import pandera.polars as pa  # noqa: PLC0415 (slow to import, and a service does not check tables)

    schema = _schema(table, empty.schema)
    try:
        schema.validate(empty, lazy=True)
    except pa.errors.SchemaErrors as error:
        case = error.failure_cases.row(0, named=True)
        if case["check"] == "column_in_dataframe":
            return case["failure_case"], "missing"
        return case["column"], str(schema.columns[case["column"]].dtype)
    return None


def _schema(table: str, columns: pl.Schema) -> "pa.DataFrameSchema":
    import pandera.polars as pa  # noqa: PLC0415 (as above)

    required = REQUIRED_COLUMNS[table]
    return pa.DataFrameSchema(
        {
            name: pa.Column(_column_type(role, columns.get(name)), nullable=True, required=name in required)
            for name, role in COLUMN_ROLES[table].items()
        }
    )


def _column_type(role: ColumnRole, present: pl.DataType | None) -> pl.DataType:
    """Return the expected type; an id is int64 or string, whichever the table has."""
    if role == "id":
        return pl.String() if present == pl.String else pl.Int64()
    return _POLARS_TYPE[role]
