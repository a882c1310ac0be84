"""What a person or a program gets back: candidates, the interests behind them, and what fell short."""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from multitudes.batches.vectors import Kind
from multitudes.ids import Id
from multitudes.retrieve.ask import Effort
from multitudes.retrieve.find import Source
from multitudes.retrieve.shortfall import Cause, Shortfall


class Candidate(NamedTuple):
    """One retrieved item; a tuple, of which a long list is made in a third of the time."""

    item_id: Id
    title: str | None
    score: float
    rank: int  # from 1
    source: Source
    interest: int | None  # number of the interest that brought it; None for a popular item
    interest_name: str | None
    found_by: tuple[int, ...]  # numbers of all interests that have it among their own best


@dataclass(frozen=True)
class Interest:
    """One vector of the user, as a person may understand it."""

    number: int
    kind: Kind
    name: str
    share: float  # of the list
    items: tuple[str, ...]  # titles (or ids) of history items that belong to it, newest first
    n_items: int
    age_days: float | None  # of its newest item when it was asked (``Ask.time_s``); None where times are unknown


@dataclass(frozen=True)
class Recommendation:
    """The answer to one request."""

    user_id: Id | None
    release: str
    candidates: tuple[Candidate, ...]
    interests: tuple[Interest, ...]
    shortfalls: tuple[Shortfall, ...] = ()  # why less than the full method served this user; the first is counted
    unknown_items: int = 0  # of the given history, which this release does not know
    unknown_topics: int = 0  # of the follows, and of what was to be muted or boosted
    effort: Effort = Effort.FULL  # that was made

    @property
    def degraded(self) -> bool:
        """True when less than the full method served this user; ``reason`` says why."""
        return bool(self.shortfalls)

    @property
    def reason(self) -> str:
        """Why less than the full method served this user, in a line for people; empty where all of it did."""
        return "; ".join(short.reason for short in self.shortfalls)

    @property
    def cause(self) -> Cause | None:
        """The first cause of that, for programs."""
        return self.shortfalls[0].cause if self.shortfalls else None

    def records(self) -> list[dict[str, Any]]:
        """Return the candidates as JSON has them; ``_asdict`` of each would take twice the time."""
        return [
            {
                "item_id": item_id,
                "title": title,
                "score": score,
                "rank": rank,
                "source": source,
                "interest": interest,
                "interest_name": interest_name,
                "found_by": found_by,
            }
            for item_id, title, score, rank, source, interest, interest_name, found_by in self.candidates
        ]

    def to_dict(self, explain: bool = False) -> dict[str, Any]:
        """Return the answer as JSON has it; ``explain`` adds the interests, the titles and what fell short."""
        record: dict[str, Any] = {"user_id": self.user_id, "release": self.release, "degraded": self.degraded}
        candidates = self.records()
        if explain:
            record |= {"reason": self.reason, "interests": [asdict(interest) for interest in self.interests]}
            record |= {"unknown_items": self.unknown_items, "unknown_topics": self.unknown_topics}
        else:
            for candidate in candidates:
                del candidate["title"]
        return record | {"candidates": candidates}
