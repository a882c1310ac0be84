"""The two things that a service writes down: an answer that it gave, and what a user then did.

Legend: N candidates of an answer.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from multitudes.ids import Id

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


class Served(NamedTuple):
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
    def of(
        cls,
        candidates: Sequence[Candidate],
        *,
        request_id: str,
        user_id: Id | None,
        time_s: int,
        release: str,
        degraded: bool = False,
    ) -> "Served":
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


class Engaged(NamedTuple):
    """One thing that a user did with an item."""

    event_id: str
    user_id: Id
    item_id: Id
    time_s: int
    action: str | None = None
    request_id: str | None = None  # of the answer that brought the item, where the caller knows it
