"""What the columns of the canonical tables are for, and so which types they may come in.

The canonical tables as schemas: which columns there are and of which type, checked on a frame without rows.
"""

from collections.abc import Mapping
from typing import Literal

import pandera.polars as pa
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
    # No tables of a data set: what a service served, and items that leave a release.
    "served": {
        "request_id": "key",
        "user_id": "id",
        "item_id": "id",
        "timestamp": "time",
        "rank": "number",
        "condition": "text",
    },
    "item_ids": {"item_id": "id"},
    # Nor are these: who was shown which arm of an experiment, and what they did before and after.
    "exposures": {"user_id": "id", "arm": "key", "timestamp": "time", "cohort": "key"},
    "outcomes": {"user_id": "id", "timestamp": "time", "metric": "key", "value": "number"},
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
    """Return what is expected of a column, without the advice."""
    return EXPECTED_TYPES[role].split(". ", maxsplit=1)[0].split(", because", maxsplit=1)[0]


Schema = pa.DataFrameSchema


def _optional(dtype: type[pl.DataType] | pl.DataType) -> pa.Column:
    return pa.Column(dtype, nullable=True, required=False)


def _id(columns: pl.Schema, name: str) -> pa.Column:
    """Return the column of an id: int64 or string, whichever the table has."""
    return pa.Column(pl.String if columns.get(name) == pl.String else pl.Int64)


def events(columns: pl.Schema) -> Schema:
    """Return the schema of the events table, whose columns are ``columns``."""
    return Schema(
        {
            "user_id": _id(columns, "user_id"),
            "item_id": _id(columns, "item_id"),
            "timestamp": pa.Column(pl.Int64),
            "action": _optional(pl.String),
            "rating": _optional(pl.Float64),
            "source_interest": _optional(pl.String),
            "valid": _optional(pl.Boolean),
            "event_id": _optional(pl.String),
            "request_id": _optional(pl.String),
        }
    )


def items(columns: pl.Schema) -> Schema:
    """Return the schema of the items table, whose columns are ``columns``."""
    return Schema(
        {
            "item_id": _id(columns, "item_id"),
            "topics": pa.Column(pl.List(pl.String), nullable=True),
            "title": _optional(pl.String),
            "embedding": _optional(pl.List(pl.Float32)),
        }
    )


def users(columns: pl.Schema) -> Schema:
    """Return the schema of the users table, whose columns are ``columns``."""
    return Schema(
        {
            "user_id": _id(columns, "user_id"),
            "followed_topics": pa.Column(pl.List(pl.String), nullable=True),
        }
    )


def served(columns: pl.Schema) -> Schema:
    """Return the schema of what a service served, whose columns are ``columns``."""
    return Schema(
        {
            "request_id": _optional(pl.String),
            "user_id": _id(columns, "user_id"),
            "item_id": _id(columns, "item_id"),
            "timestamp": pa.Column(pl.Int64),
            "rank": _optional(pl.Float64),
            "condition": pa.Column(pl.String, nullable=True),
        }
    )


def item_ids(columns: pl.Schema) -> Schema:
    """Return the schema of a table of item ids, whose columns are ``columns``."""
    return Schema({"item_id": _id(columns, "item_id")})


def exposures(columns: pl.Schema) -> Schema:
    """Return the schema of the exposures of an experiment, whose columns are ``columns``."""
    return Schema(
        {
            "user_id": _id(columns, "user_id"),
            "arm": pa.Column(pl.String),
            "timestamp": pa.Column(pl.Int64),
            "cohort": _optional(pl.String),
        }
    )


def outcomes(columns: pl.Schema) -> Schema:
    """Return the schema of the outcomes of an experiment, whose columns are ``columns``."""
    return Schema(
        {
            "user_id": _id(columns, "user_id"),
            "timestamp": pa.Column(pl.Int64),
            "metric": pa.Column(pl.String),
            "value": pa.Column(pl.Float64),
        }
    )


SCHEMAS = {
    "events": events,
    "items": items,
    "users": users,
    "served": served,
    "item_ids": item_ids,
    "exposures": exposures,
    "outcomes": outcomes,
}


def first_schema_error(table: str, empty: pl.DataFrame) -> tuple[str, str] | None:
    """Return the first column of ``empty`` that breaks the schema of ``table``, with the type that was expected.

    A missing column is returned as its name with the type "missing".
    """
    schema = SCHEMAS[table](empty.schema)
    try:
        schema.validate(empty, lazy=True)
    except pa.errors.SchemaErrors as error:
        case = error.failure_cases.row(0, named=True)
        if case["check"] == "column_in_dataframe":
            return case["failure_case"], "missing"
        return case["column"], str(schema.columns[case["column"]].dtype)
    return None
