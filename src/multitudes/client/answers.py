"""What the service answers, as records. Fields that a newer service adds are passed over."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from multitudes.ids import Id

R = TypeVar("R")


@dataclass(frozen=True)
class Candidate:
    """One retrieved item."""

    item_id: Id
    title: str | None
    score: float
    rank: int  # from 1
    source: str  # unconditioned, implicit, explicit or popular
    interest: int | None  # number of the interest that brought it; None for a popular item
    interest_name: str | None
    found_by: tuple[int, ...]  # all interests that have it among their own best


@dataclass(frozen=True)
class Interest:
    """One vector of the user, as a person may understand it."""

    number: int
    kind: str
    name: str
    share: float  # of the list
    items: tuple[str, ...]  # titles of history items that belong to it, newest first
    n_items: int
    age_days: float | None  # of its newest item, at the time of the request


@dataclass(frozen=True)
class Recommended:
    """The answer to one request."""

    request_id: str
    user_id: Id | None
    release: str
    degraded: bool
    reason: str  # why less than the full method served this user, or empty
    candidates: tuple[Candidate, ...]
    interests: tuple[Interest, ...]
    unknown_items: int
    unknown_topics: int
    timings_ms: Mapping[str, float]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Recommended":
        """Read an answer."""
        candidates = tuple(from_record(Candidate, one) for one in record["candidates"])
        interests = tuple(from_record(Interest, one) for one in record["interests"])
        return from_record(cls, {**record, "candidates": candidates, "interests": interests})


@dataclass(frozen=True)
class Appended:
    """What came of events."""

    new: int
    repeated: int
    cut: int  # new ones whose time lay in the future and was set to now


@dataclass(frozen=True)
class UserEvent:
    """One event as it is kept."""

    event_id: str
    item_id: Id
    time_s: int
    action: str | None


@dataclass(frozen=True)
class UserState:
    """What is kept of a user, beside what a release holds of them."""

    user_id: Id
    follows: tuple[str, ...] | None  # None: never stated here
    events: tuple[UserEvent, ...]  # oldest first
    forgotten: bool

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "UserState":
        """Read an answer."""
        return from_record(
            cls, {**record, "events": tuple(from_record(UserEvent, event) for event in record["events"])}
        )


@dataclass(frozen=True)
class SimilarItem:
    """A neighbour of an item."""

    item_id: Id
    title: str | None
    score: float
    rank: int


@dataclass(frozen=True)
class ReleaseState:
    """One version."""

    version: str
    serves: bool
    created_at: str | None = None
    method: str | None = None
    counts: Mapping[str, int] | None = None
    problem: str | None = None  # why it cannot serve


def from_record(kind: type[R], record: Mapping[str, Any]) -> R:
    """Make a record of those of its fields that ``kind`` has; lists become tuples.

    Raises:
        KeyError: one that has no default is missing.
    """
    known: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name in record:
            value = record[field.name]
            known[field.name] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(**known)
    except TypeError:
        raise KeyError(*sorted({field.name for field in fields(kind)} - set(known))) from None  # type: ignore[arg-type]
