"""The answer to a request: for a person with titles and named interests, or for a program as a plain list of ids.

Titles, names and examples of interests cost a third of an answer.

Legend: B users · L history · K vectors · N candidates · R reasons of a candidate.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.api import Candidate, HistoryItem, Interest, Row, VectorsResponse, candidate_records
from multitudes.batches.user_vectors import UserVectors
from multitudes.ids import Id
from multitudes.linear.neighbours import NeighbourSource
from multitudes.release.release import Release
from multitudes.retrieval.explanation import MAX_OWN_ITEMS, MAX_REASONS, Explainer
from multitudes.retrieval.interest_names import InterestNamer
from multitudes.retrieval.neighbours import largest_terms
from multitudes.retrieval.request import Cause, Degradation, Shortfall
from multitudes.retrieval.resolved_request import ResolvedRequest
from multitudes.retrieval.rows import make_rows
from multitudes.retrieval.search import REPEAT, Candidates

MAX_EXAMPLES = 3  # history items shown for an interest
_DAY_S = 86_400
REPEAT_LABEL = "you come back to it"  # in place of the name of an interest


@dataclass(frozen=True)
class Recommendation:
    """The answer to one request.

    Attributes:
        user_id: the user; None for an anonymous one.
        release: version of the release that answered.
        candidates: best first; where rows were asked for, row by row.
        interests: the vectors that were searched.
        shortfalls: why the answer is less than the full method would give; metrics count the first.
        unknown_items: items of the history that the release does not know.
        unknown_topics: muted, boosted and followed topics that the release does not know.
        degradation: what was left out to save time.
        rows: the same candidates by row; empty unless asked for.
        search: what a vector store searches with; None unless asked for.
    """

    user_id: Id | None
    release: str
    candidates: tuple[Candidate, ...]
    interests: tuple[Interest, ...]
    shortfalls: tuple[Shortfall, ...] = ()
    unknown_items: tuple[Id, ...] = ()
    unknown_topics: tuple[str, ...] = ()
    degradation: Degradation = Degradation.NONE
    rows: tuple[Row, ...] = ()
    search: VectorsResponse | None = None

    @property
    def degraded(self) -> bool:
        """Whether the answer is less than the full method would give; ``reason`` says why."""
        return bool(self.shortfalls)

    @property
    def reason(self) -> str:
        """Why the answer falls short, in one line for people; empty if it does not."""
        return "; ".join(shortfall.reason for shortfall in self.shortfalls)

    @property
    def cause(self) -> Cause | None:
        """The first cause of a shortfall, for programs."""
        return self.shortfalls[0].cause if self.shortfalls else None

    def records(self) -> list[dict[str, Any]]:
        """Return the candidates as JSON objects."""
        return candidate_records(self.candidates)

    def row_records(self) -> list[dict[str, Any]]:
        """Return the rows as JSON objects."""
        return [vars(row) | {"candidates": candidate_records(row.candidates)} for row in self.rows]

    def to_dict(self, explain: bool = False) -> dict[str, Any]:
        """Return the answer as a JSON object; ``explain`` adds the interests, the reasons and what is unknown."""
        record: dict[str, Any] = {"user_id": self.user_id, "release": self.release, "degraded": self.degraded}
        candidates, rows = self.records(), self.row_records()
        if explain:
            record |= {"reason": self.reason, "interests": [asdict(interest) for interest in self.interests]}
            record |= {"unknown_items": self.unknown_items, "unknown_topics": self.unknown_topics}
        else:
            for candidate in (*candidates, *(one for row in rows for one in row["candidates"])):
                del candidate["because"]
        return record | {"candidates": candidates} | ({"rows": rows} if rows else {})


class Retrieval(NamedTuple):
    """What was retrieved for one request: all that its answer is made from."""

    resolved: ResolvedRequest
    candidates: Candidates
    vectors: UserVectors | None = None  # of this user; None: popular items, without a search
    search: VectorsResponse | None = None  # for a request of vectors only

    @property
    def shortfalls(self) -> tuple[Shortfall, ...]:
        """Why the answer is less than the full method would give."""
        return (*self.resolved.shortfalls, *self.candidates.shortfalls, *_short_list(self.candidates, self.resolved))

    @property
    def unknown_topics(self) -> tuple[str, ...]:
        """Muted, boosted and followed topics that the release does not know."""
        preferences, context = self.resolved.preferences, self.resolved.context
        return tuple(dict.fromkeys((*preferences.unknown_topics, *context.unknown_topics)))


class RecommendationBuilder:
    """Builds recommendations, with the names of one release."""

    def __init__(self, release: Release, neighbours: NeighbourSource | None) -> None:
        self._neighbours = neighbours
        self._version = release.version
        self._names = release.item_names
        self.namer = InterestNamer.from_release(release)
        self._explainer = Explainer(release.index)
        self._newest_s = None if release.manifest.ordered_only else int(release.event_time.max(initial=0))

    def build(self, retrieval: Retrieval) -> Recommendation:
        """Build a recommendation."""
        resolved, candidates, vectors, search = retrieval
        interests: tuple[Interest, ...] = ()
        because_NR = np.zeros((len(candidates.item_N), 0), dtype=np.int64)
        if vectors is not None:
            interests = self._interests(resolved, vectors, candidates.share_K)
            because_NR = self._reasons(resolved.context.positives[-MAX_OWN_ITEMS:], candidates, vectors)
        names = {interest.number: interest.name for interest in interests} | {REPEAT: REPEAT_LABEL}
        shown = self._candidates(candidates, because_NR, names)
        rows = make_rows(shown, interests) if resolved.request.rows is not None else ()
        return Recommendation(
            user_id=resolved.context.user_id,
            release=self._version,
            candidates=tuple(one for row in rows for one in row.candidates) if rows else shown,
            interests=interests,
            shortfalls=retrieval.shortfalls,
            unknown_items=resolved.context.unknown_items,
            unknown_topics=retrieval.unknown_topics,
            degradation=resolved.degradation,
            rows=rows,
            search=search,
        )

    def _reasons(self, own_H: NDArray[np.int64], candidates: Candidates, vectors: UserVectors) -> NDArray[np.int64]:
        """Return the own items that are reasons for each candidate (N, R), 0 = none: causes, or else similar items."""
        because_NR = np.zeros((len(candidates.item_N), MAX_REASONS), dtype=np.int64)
        if self._neighbours is not None and vectors.own is not None:
            terms, brought_N = self._neighbours.terms(vectors.own[0]), np.flatnonzero(candidates.interest_N >= 0)
            brought = candidates.item_N[brought_N], candidates.interest_N[brought_N]
            because_NR[brought_N] = largest_terms(terms, vectors.own[0], *brought, MAX_REASONS)
        without_N = np.flatnonzero(because_NR[:, 0] == 0)
        because_NR[without_N] = self._explainer.explain(own_H, candidates.select(without_N))
        return because_NR

    def _interests(
        self, resolved: ResolvedRequest, vectors: UserVectors, share_K: NDArray[np.float64]
    ) -> tuple[Interest, ...]:
        """Describe the interests of a user."""
        item_BL = resolved.context.histories.item_BL
        events: dict[int, list[tuple[int, int]]] = {}  # position and item of those of each interest, newest first
        for position, (item, k) in enumerate(zip(item_BL[0].tolist(), vectors.assignment_BL[0].tolist(), strict=True)):
            if item:
                events.setdefault(k, []).append((position, item))
        interests = []
        columns = zip(vectors.kinds, self.namer.name_all(vectors, item_BL), share_K.tolist(), strict=True)
        for k, (kind, name, share) in enumerate(columns):
            if name is not None:
                own = events.get(k, [])
                examples = list(dict.fromkeys(item for _, item in own))[:MAX_EXAMPLES]
                age_days = self._age_days(resolved, own[0][0]) if own else None
                titles = tuple(map(self._names.label, examples))
                n_items = len(own) if vectors.own is None else int((vectors.own[0].column_n == k).sum())
                interests.append(Interest(k, kind, name, share, titles, n_items, age_days))
        return tuple(interests)

    def _age_days(self, resolved: ResolvedRequest, position: int) -> float | None:
        """Return the age of a history event at the time of the request, at least 0; None if its time is unknown."""
        if resolved.context.time_BL is None or self._newest_s is None:
            return None
        now_s = self._newest_s if resolved.request.time_s is None else resolved.request.time_s
        return max(0, now_s - int(resolved.context.time_BL[0, position])) / _DAY_S

    def _candidates(
        self, candidates: Candidates, because_NR: NDArray[np.int64], names: dict[int, str]
    ) -> tuple[Candidate, ...]:
        # An index shared by several processes may hold items that were added after this snapshot of the release.
        known_N = candidates.item_N <= len(self._names)
        if not known_N.all():
            candidates, because_NR = candidates.select(known_N), because_NR[known_N]
        interests, reasons = candidates.interest_N.tolist(), because_NR.tolist()
        own = list({number for row in reasons for number in row} - {0})  # 0 is none
        ids, titles = self._names.columns(np.concatenate([candidates.item_N, np.array(own, dtype=np.int64)]))
        reason = dict(zip(own, map(HistoryItem, ids[len(interests) :], titles[len(interests) :]), strict=True))
        columns = (
            ids[: len(interests)],
            titles[: len(interests)],
            candidates.score_N.tolist(),
            range(1, len(interests) + 1),
            candidates.sources,
            [k if k >= 0 else None for k in interests],
            [names.get(k) for k in interests],
            _true_columns(candidates.found_by_NK),
            [tuple(map(reason.__getitem__, filter(None, row))) for row in reasons],
        )
        return tuple(map(Candidate, *columns))


def _short_list(candidates: Candidates, resolved: ResolvedRequest) -> tuple[Shortfall, ...]:
    """Return the shortfall of a list that is short where the request excludes or mutes items.

    Without that, the release has no more items for this user, and nothing falls short.
    """
    found, request = len(candidates.item_N), resolved.request
    n = request.n
    if found >= n or request.rows is not None or not (request.exclude or request.mute_topics):
        return ()
    return (Shortfall("few", f"{found} of {n} candidates: no other item is left that is not excluded or muted"),)


def _true_columns(found_by_NK: NDArray[np.bool_]) -> list[tuple[int, ...]]:
    """Return the true columns of each row."""
    flat, width = found_by_NK.tobytes(), found_by_NK.shape[1]
    return [_places_of_ones(flat[n * width : (n + 1) * width]) for n in range(len(found_by_NK))]


@lru_cache(maxsize=4096)  # most rows of all answers are equal
def _places_of_ones(row: bytes) -> tuple[int, ...]:
    return tuple(k for k, found in enumerate(row) if found)


class IdList(NamedTuple):
    """The candidates of one request as ids and arrays, for a program that sends thousands of requests."""

    item_ids: list[Id]
    candidates: Candidates
    topics: list[str]  # of each vector: the condition of an explicit one
    degraded: bool
    unknown_topics: tuple[str, ...]  # muted, boosted and followed topics that the release does not know

    @classmethod
    def build(cls, release: Release, retrieval: Retrieval) -> "IdList":
        """Build a list with the item ids of a release."""
        candidates, vectors = retrieval.candidates, retrieval.vectors
        topic_K = [0] * len(candidates.kinds) if vectors is None else vectors.topic_BK[0].tolist()
        topics = [release.topics[topic] for topic in topic_K]
        ids = release.item_names.ids(candidates.item_N)
        return cls(ids, candidates, topics, bool(retrieval.shortfalls), retrieval.unknown_topics)
