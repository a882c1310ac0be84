"""What a person or a program gets back: candidates, the interests behind them, and what fell short.

From numbers to what a person understands: ids, titles, names of interests.

Legend: B users · L history · K vectors.

An answer for a program that asks for thousands: ids and numbers, and nothing that only a person reads.

Titles, names and examples of interests cost a third of an answer.
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.user_vectors import InterestKind, UserVectors
from multitudes.ids import Id
from multitudes.release.release import Release
from multitudes.retrieval.interest_names import InterestNamer
from multitudes.retrieval.request import Cause, Degradation, Shortfall
from multitudes.retrieval.search import POPULAR, Candidates, Source, popular_candidates
from multitudes.retrieval.user_context import ResolvedRequest


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
    kind: InterestKind
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
    degradation: Degradation = Degradation.NONE  # that was made

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


_MAX_EXAMPLES = 3  # history items shown for an interest
_DAY_S = 86_400


class _InterestHistory(NamedTuple):
    """The history events that belong to an interest, newest first."""

    positions: list[int]  # in the history
    items: list[int]
    topics: list[list[int]]  # of each item


_NO_HISTORY = _InterestHistory([], [], [])


def interest_namer(release: Release) -> InterestNamer:
    """Return the names of a release, and how common its topics are."""
    return InterestNamer.build(
        release.topics, release.item_names, release.item_topic_offset, release.item_topic, release.item_count
    )


class RecommendationBuilder:
    """Knows the names of one release."""

    def __init__(self, release: Release) -> None:
        self._version = release.version
        self._names = release.item_names
        self._interest_namer = interest_namer(release)
        self._newest_s = None if release.manifest.ordered_only else int(release.event_time.max(initial=0))

    def build(
        self, resolved: ResolvedRequest, b: int, vectors: UserVectors, found: Candidates, unknown_topics: int
    ) -> Recommendation:
        """Return the answer to a request.

        Args:
            resolved: who asks.
            b: their row in ``vectors``.
            vectors: of all who were answered together.
            found: what was found.
            unknown_topics: topics of the request's wishes that the release does not know.
        """
        numbers = np.flatnonzero(vectors.mask_BK[b]).tolist()
        own = self._histories_by_interest(resolved.context.histories.item_BL[0], vectors.assignment_BL[b])
        interests = tuple(
            self._interest(
                resolved,
                k,
                vectors.kinds[k],
                int(vectors.topic_BK[b, k]),
                float(found.share_K[k]),
                own.get(k, _NO_HISTORY),
            )
            for k in numbers
        )
        return self._recommendation(resolved, found, interests, unknown_topics)

    def build_popular(
        self, resolved: ResolvedRequest, item_N: NDArray[np.int64], events_N: NDArray[np.int64], unknown_topics: int
    ) -> Recommendation:
        """Return popular items as an answer, with how often each was liked."""
        return self._recommendation(resolved, popular_candidates(item_N, events_N), (), unknown_topics)

    def _recommendation(
        self, resolved: ResolvedRequest, found: Candidates, interests: tuple[Interest, ...], unknown_topics: int
    ) -> Recommendation:
        return Recommendation(
            user_id=resolved.context.user_ids[0],
            release=self._version,
            candidates=self._candidates(found, {interest.number: interest.name for interest in interests}),
            interests=interests,
            shortfalls=(*resolved.shortfalls, *found.shortfalls),
            unknown_items=resolved.context.unknown_items_B[0],
            unknown_topics=resolved.context.unknown_topics_B[0] + unknown_topics,
            degradation=resolved.degradation,
        )

    def _histories_by_interest(
        self, item_L: NDArray[np.int64], cluster_L: NDArray[np.int64]
    ) -> dict[int, _InterestHistory]:
        """Return what belongs to each interest that has any history of its own."""
        own: dict[int, _InterestHistory] = {}
        if (cluster_L >= 0).any():
            rows = zip(cluster_L.tolist(), item_L.tolist(), self._interest_namer.topics_of(item_L), strict=True)
            for place, (k, item, topics) in enumerate(rows):
                if item > 0:
                    mine = own.setdefault(k, _InterestHistory([], [], []))
                    mine.positions.append(place)
                    mine.items.append(item)
                    mine.topics.append(topics)
        return own

    def _interest(
        self, resolved: ResolvedRequest, k: int, kind: InterestKind, topic: int, share: float, own: _InterestHistory
    ) -> Interest:
        return Interest(
            number=k,
            kind=kind,
            name=self._interest_namer.name(kind, topic, own.items, own.topics),
            share=share,
            items=tuple(map(self._names.label, list(dict.fromkeys(own.items))[:_MAX_EXAMPLES])),
            n_items=len(own.items),
            age_days=self._age_days(resolved, own.positions[0]) if own.positions else None,
        )

    def _age_days(self, resolved: ResolvedRequest, newest: int) -> float | None:
        """Return how old an event of a history was when it was asked; positions have no age, and nothing is younger."""
        if resolved.context.time_BL is None or self._newest_s is None:
            return None
        now_s = self._newest_s if resolved.request.time_s is None else resolved.request.time_s
        return max(0, now_s - int(resolved.context.time_BL[0, newest])) / _DAY_S

    def _candidates(self, found: Candidates, names: dict[int, str]) -> tuple[Candidate, ...]:
        # An index that many processes share may hold items that have come since this state was taken.
        known_N = found.item_N <= len(self._names)
        if not known_N.all():
            arrays = (
                found.item_N[known_N],
                found.score_N[known_N],
                found.interest_N[known_N],
                found.found_by_NK[known_N],
            )
            found = Candidates(*arrays, found.kinds, found.share_K)
        interests = found.interest_N.tolist()
        columns = (
            *self._names.columns(found.item_N),
            found.score_N.tolist(),
            range(1, len(interests) + 1),
            found.sources,
            [None if k == POPULAR else k for k in interests],
            [names.get(k) for k in interests],
            _true_columns(found.found_by_NK),
        )
        return tuple(map(Candidate, *columns))


def _true_columns(found_by_NK: NDArray[np.bool_]) -> list[tuple[int, ...]]:
    """Return for each row the columns in which it is true; most rows of an answer are alike, so each is read once."""
    length, width = found_by_NK.shape
    flat = found_by_NK.tobytes()
    rows = [flat[n * width : (n + 1) * width] for n in range(length)]
    columns = {row: tuple(k for k, found in enumerate(row) if found) for row in set(rows)}
    return [columns[row] for row in rows]


T_co = TypeVar("T_co", covariant=True)


class ResponseBuilder(Protocol[T_co]):
    """What is made of what was found for a request: a recommendation to be read, or a list."""

    def build(
        self, resolved: ResolvedRequest, b: int, vectors: UserVectors, found: Candidates, unknown_topics: int
    ) -> T_co:
        """Return the answer to the request whose vectors are in row ``b``."""
        ...

    def build_popular(
        self, resolved: ResolvedRequest, item_N: NDArray[np.int64], events_N: NDArray[np.int64], unknown_topics: int
    ) -> T_co:
        """Return popular items as an answer, with how often each was liked."""
        ...


class IdList(NamedTuple):
    """What one request gets: the candidates, whose items have these ids."""

    item_ids: list[Id]
    found: Candidates
    topics: list[str]  # of each vector: what an explicit one is conditioned on
    degraded: bool
    unknown_topics: int  # of the follows and the wishes, which this release does not know


class IdListBuilder:
    """Makes lists of what was found in one release."""

    def __init__(self, release: Release) -> None:
        self._names, self._topics = release.item_names, release.topics

    def build(
        self, resolved: ResolvedRequest, b: int, vectors: UserVectors, found: Candidates, unknown_topics: int
    ) -> IdList:
        """Return what the retriever found."""
        topics = [self._topics[topic] for topic in vectors.topic_BK[b].tolist()]
        return self._id_list(resolved, found, topics, unknown_topics)

    def build_popular(
        self, resolved: ResolvedRequest, item_N: NDArray[np.int64], events_N: NDArray[np.int64], unknown_topics: int
    ) -> IdList:
        """Return popular items."""
        return self._id_list(resolved, popular_candidates(item_N, events_N), [], unknown_topics)

    def _id_list(self, resolved: ResolvedRequest, found: Candidates, topics: list[str], unknown: int) -> IdList:
        degraded = bool(resolved.shortfalls or found.shortfalls)
        unknown_topics = resolved.context.unknown_topics_B[0] + unknown
        return IdList(self._names.ids(found.item_N), found, topics, degraded, unknown_topics)
