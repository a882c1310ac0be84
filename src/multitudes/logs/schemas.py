"""The content of the two logs: the records that a service writes, and the columns of segments and spool lines.

``served`` has a row for each candidate of each response. ``events`` has a row for each action of a user; its columns
are those of the canonical events table, so the folder of the log can be read as one.

Legend: N candidates of a response.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import polars as pl

from multitudes.api import Candidate
from multitudes.ids import Id, IdType

LogName = Literal["served", "events"]
Columns = dict[str, pl.DataType | type[pl.DataType]]
ORIGIN_COLUMNS = ("source", "interest", "interest_name", "condition")
SCORE_UNIT = 1_000_000  # a spool has scores as whole millionths: a float costs ten times as much to write as text
EXPLICIT = "explicit"  # the source of interests that are topics: the topic is the condition


class IdTypes(NamedTuple):
    """The types of the ids, the same in every segment of a log, so that 7 and '7' are never confused."""

    user_id: IdType
    item_id: IdType


class Origin(NamedTuple):
    """The reason why candidates are in a response: one of the user's interests, or popularity."""

    source: str  # unconditioned, implicit, explicit or popular
    interest: int | None = None  # its number within the response; None if no interest found the candidates
    interest_name: str | None = None
    condition: str | None = None  # the topic of an explicit interest; training of `conditional` learns from it


class ServedResponse(NamedTuple):
    """One response. Its N candidates are in the order of their ranks, from 1; each becomes a row of the log.

    An origin is stored once, not once per candidate: that would be most of the cost.
    """

    request_id: str
    user_id: Id | None  # None: an anonymous user
    time_s: int  # seconds since 1970
    release: str  # its version
    degraded: bool  # whether the response is less than the full method would give
    item_ids: Sequence[Id]
    scores: Sequence[float]  # logged with six decimals
    origins: Sequence[Origin]
    origin_N: Sequence[int]  # index into origins

    @classmethod
    def from_candidates(
        cls,
        candidates: Sequence[Candidate],
        *,
        request_id: str,
        user_id: Id | None,
        time_s: int,
        release: str,
        degraded: bool = False,
    ) -> "ServedResponse":
        """Return the record of a response with ``candidates`` by rank.

        The name of an explicit interest is its topic, and so its condition.
        """
        origins: dict[tuple[str, int | None], Origin] = {}
        for candidate in candidates:
            key, name = (candidate.source, candidate.interest), candidate.interest_name
            if key not in origins:
                origins[key] = Origin(*key, name, name if candidate.source == EXPLICIT else None)
        position = {key: number for number, key in enumerate(origins)}
        origin_N = [position[c.source, c.interest] for c in candidates]
        item_ids, scores = [c.item_id for c in candidates], [c.score for c in candidates]
        return cls(request_id, user_id, time_s, release, degraded, item_ids, scores, [*origins.values()], origin_N)


class LoggedEvent(NamedTuple):
    """One action of a user on an item."""

    event_id: str
    user_id: Id
    item_id: Id
    time_s: int  # seconds since 1970
    action: str | None = None
    request_id: str | None = None  # of the response with the item, if the caller knows it


def segment_columns(log: LogName, id_types: IdTypes) -> Columns:
    """Return the columns of a segment."""
    user, item = _column_type(id_types.user_id), _column_type(id_types.item_id)
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


def line_columns(log: LogName, id_types: IdTypes) -> Columns:
    """Return the columns of a line in a spool: a response, or the events of one append."""
    columns = segment_columns(log, id_types)
    if log == "events":
        return {name: pl.List(dtype) for name, dtype in columns.items()}
    per_response = ("request_id", "user_id", "timestamp", "release", "degraded")
    per_candidate: Columns = {"item_id": columns["item_id"], "score": pl.Int64, "origin": pl.Int32}
    lists = {**per_candidate, **{name: columns[name] for name in ORIGIN_COLUMNS}}
    return {**{name: columns[name] for name in per_response}, **{name: pl.List(dtype) for name, dtype in lists.items()}}


def _column_type(id_type: IdType) -> type[pl.DataType]:
    return pl.Int64 if id_type == "int64" else pl.String
