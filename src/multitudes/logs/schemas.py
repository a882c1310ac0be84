"""The columns of the two logs: those of a Parquet part, and those of a line in a spool.

``served``: a row for each candidate of each answer. ``events``: a row for each thing done; as its columns are those of
the canonical events table, a folder of it is one.

The two things that a service writes down: an answer that it gave, and what a user then did.

Legend: N candidates of an answer.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import polars as pl

from multitudes.ids import Id, IdType

LogName = Literal["served", "events"]
Columns = dict[str, pl.DataType | type[pl.DataType]]
SCORE_UNIT = 1_000_000  # scores are whole millionths in a spool: a float costs ten times as much to write as text


class IdTypes(NamedTuple):
    """What ids are: the same in every part of a log, or 7 and '7' would be confused."""

    user_id: IdType
    item_id: IdType


def segment_columns(log: LogName, kinds: IdTypes) -> Columns:
    """Return the columns of a Parquet part."""
    user, item = _column_type(kinds.user_id), _column_type(kinds.item_id)
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


def line_columns(log: LogName, kinds: IdTypes) -> Columns:
    """Return the columns of a line in a spool: an answer, or the events of one append."""
    columns = segment_columns(log, kinds)
    if log == "events":
        return {name: pl.List(dtype) for name, dtype in columns.items()}
    once = ("request_id", "user_id", "timestamp", "release", "degraded")
    of_origins = ("source", "interest", "interest_name", "condition")
    of_candidates: Columns = {"item_id": columns["item_id"], "score": pl.Int64, "origin": pl.Int32}
    lists = {**of_candidates, **{name: columns[name] for name in of_origins}}
    return {**{name: columns[name] for name in once}, **{name: pl.List(dtype) for name, dtype in lists.items()}}


def _column_type(kind: IdType) -> type[pl.DataType]:
    return pl.Int64 if kind == "int64" else pl.String


EXPLICIT = "explicit"  # the source whose interests are topics: the topic is the condition


class Origin(NamedTuple):
    """What brought candidates into an answer: one of the user's interests, or popularity."""

    source: str  # unconditioned, implicit, explicit or popular
    interest: int | None = None  # its number within the answer; None where no interest brought it
    interest_name: str | None = None
    condition: str | None = None  # the topic of an explicit interest: what CR's training triples are made of


class Candidate(Protocol):
    """What is read of a retrieved item."""

    @property
    def item_id(self) -> Id: ...  # noqa: D102
    @property
    def score(self) -> float: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def interest(self) -> int | None: ...  # noqa: D102
    @property
    def interest_name(self) -> str | None: ...  # noqa: D102


class ServedResponse(NamedTuple):
    """One answer. The N candidates stand in the order of their ranks, from 1; a row each in the log.

    What brought them is written once for each origin, not once for each candidate: that is most of the cost.
    """

    request_id: str
    user_id: Id | None  # None: somebody who was described in the request
    time_s: int
    release: str
    degraded: bool
    item_ids: Sequence[Id]
    scores: Sequence[float]  # kept to a millionth
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
        """Return the record of an answer. The name of an explicit interest is its topic, and so its condition."""
        place: dict[tuple[str, int | None], int] = {}
        origins: list[Origin] = []
        origin_N = []
        for candidate in candidates:
            key = candidate.source, candidate.interest
            if key not in place:
                place[key] = len(origins)
                name = candidate.interest_name
                origins.append(Origin(*key, name, name if candidate.source == EXPLICIT else None))
            origin_N.append(place[key])
        item_ids, scores = [c.item_id for c in candidates], [c.score for c in candidates]
        return cls(request_id, user_id, time_s, release, degraded, item_ids, scores, origins, origin_N)


class LoggedEvent(NamedTuple):
    """One thing that a user did with an item."""

    event_id: str
    user_id: Id
    item_id: Id
    time_s: int
    action: str | None = None
    request_id: str | None = None  # of the answer that brought the item, where the caller knows it
