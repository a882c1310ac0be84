"""The columns of the two logs: those of a Parquet part, and those of a line in a spool.

``served``: a row for each candidate of each answer. ``events``: a row for each thing done; as its columns are those of
the canonical events table, a folder of it is one.
"""

from typing import Literal, NamedTuple

import polars as pl

from multitudes.ids import IdKind

LogName = Literal["served", "events"]
Columns = dict[str, pl.DataType | type[pl.DataType]]
SCORE_UNIT = 1_000_000  # scores are whole millionths in a spool: a float costs ten times as much to write as text


class Kinds(NamedTuple):
    """What ids are: the same in every part of a log, or 7 and '7' would be confused."""

    user_id: IdKind
    item_id: IdKind


def part(log: LogName, kinds: Kinds) -> Columns:
    """Return the columns of a Parquet part."""
    user, item = _type(kinds.user_id), _type(kinds.item_id)
    if log == "events":
        return {
            "event_id": pl.String,
            "user_id": user,
            "item_id": item,
            "timestamp": pl.Int64,
            "action": pl.String,
            "request_id": pl.String,
        }
    return {
        "request_id": pl.String,
        "user_id": user,
        "timestamp": pl.Int64,
        "item_id": item,
        "rank": pl.Int32,
        "score": pl.Float32,
        "source": pl.String,
        "interest": pl.Int32,
        "interest_name": pl.String,
        "condition": pl.String,
        "release": pl.String,
        "degraded": pl.Boolean,
    }


def line(log: LogName, kinds: Kinds) -> Columns:
    """Return the columns of a line in a spool: an answer, or the events of one append."""
    columns = part(log, kinds)
    if log == "events":
        return {name: pl.List(dtype) for name, dtype in columns.items()}
    once = ("request_id", "user_id", "timestamp", "release", "degraded")
    of_origins = ("source", "interest", "interest_name", "condition")
    of_candidates: Columns = {"item_id": columns["item_id"], "score": pl.Int64, "origin": pl.Int32}
    lists = {**of_candidates, **{name: columns[name] for name in of_origins}}
    return {**{name: columns[name] for name in once}, **{name: pl.List(dtype) for name, dtype in lists.items()}}


def _type(kind: IdKind) -> type[pl.DataType]:
    return pl.Int64 if kind == "int64" else pl.String
