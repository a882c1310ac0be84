"""From numbers to what a person understands: ids, titles, names of interests.

Legend: B users · L history · K vectors.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.vectors import Kind, UserVectors
from multitudes.release.release import Release
from multitudes.retrieve.cases import Case
from multitudes.retrieve.find import POPULAR, Candidates, popular_alone
from multitudes.retrieve.names import Vocabulary
from multitudes.retrieve.recommendation import Candidate, Interest, Recommendation

_EXAMPLES = 3  # history items shown for an interest
_DAY_S = 86_400


class _Own(NamedTuple):
    """The history events that belong to an interest, newest first."""

    places: list[int]  # in the history
    items: list[int]
    topics: list[list[int]]  # of each item


_NONE = _Own([], [], [])


def vocabulary(release: Release) -> Vocabulary:
    """Return the names of a release, and how common its topics are."""
    return Vocabulary.build(
        release.topics, release.item_names, release.item_topic_offset, release.item_topic, release.item_count
    )


class Presenter:
    """Knows the names of one release."""

    def __init__(self, release: Release) -> None:
        self._version = release.version
        self._names = release.item_names
        self._vocabulary = vocabulary(release)
        self._newest_s = None if release.manifest.ordered_only else int(release.event_time.max(initial=0))

    def recommendation(
        self, case: Case, b: int, vectors: UserVectors, found: Candidates, unknown: int
    ) -> Recommendation:
        """Return the answer to a request.

        Args:
            case: who asks.
            b: their row in ``vectors``.
            vectors: of all who were answered together.
            found: what was found.
            unknown: topics of the request's wishes that the release does not know.
        """
        numbers = np.flatnonzero(vectors.mask_BK[b]).tolist()
        own = self._own(case.asked.histories.item_BL[0], vectors.cluster_BL[b])
        interests = tuple(
            self._interest(
                case, k, vectors.kinds[k], int(vectors.topic_BK[b, k]), float(found.share_K[k]), own.get(k, _NONE)
            )
            for k in numbers
        )
        return self._answer(case, found, interests, unknown)

    def popular(
        self, case: Case, item_N: NDArray[np.int64], events_N: NDArray[np.int64], unknown: int
    ) -> Recommendation:
        """Return popular items as an answer, with how often each was liked."""
        return self._answer(case, popular_alone(item_N, events_N), (), unknown)

    def _answer(self, case: Case, found: Candidates, interests: tuple[Interest, ...], unknown: int) -> Recommendation:
        return Recommendation(
            user_id=case.asked.ids[0],
            release=self._version,
            candidates=self._candidates(found, {interest.number: interest.name for interest in interests}),
            interests=interests,
            shortfalls=(*case.shortfalls, *found.shortfalls),
            unknown_items=case.asked.unknown_items_B[0],
            unknown_topics=case.asked.unknown_topics_B[0] + unknown,
            effort=case.effort,
        )

    def _own(self, item_L: NDArray[np.int64], cluster_L: NDArray[np.int64]) -> dict[int, _Own]:
        """Return what belongs to each interest that has any history of its own."""
        own: dict[int, _Own] = {}
        if (cluster_L >= 0).any():
            rows = zip(cluster_L.tolist(), item_L.tolist(), self._vocabulary.topics_of(item_L), strict=True)
            for place, (k, item, topics) in enumerate(rows):
                if item > 0:
                    mine = own.setdefault(k, _Own([], [], []))
                    mine.places.append(place)
                    mine.items.append(item)
                    mine.topics.append(topics)
        return own

    def _interest(self, case: Case, k: int, kind: Kind, topic: int, share: float, own: _Own) -> Interest:
        return Interest(
            number=k,
            kind=kind,
            name=self._vocabulary.name(kind, topic, own.items, own.topics),
            share=share,
            items=tuple(map(self._names.shown, list(dict.fromkeys(own.items))[:_EXAMPLES])),
            n_items=len(own.items),
            age_days=self._age_days(case, own.places[0]) if own.places else None,
        )

    def _age_days(self, case: Case, newest: int) -> float | None:
        """Return how old an event of a history was when it was asked; positions have no age, and nothing is younger."""
        if case.asked.time_BL is None or self._newest_s is None:
            return None
        now_s = self._newest_s if case.ask.time_s is None else case.ask.time_s
        return max(0, now_s - int(case.asked.time_BL[0, newest])) / _DAY_S

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
            _numbers(found.found_by_NK),
        )
        return tuple(map(Candidate, *columns))


def _numbers(found_by_NK: NDArray[np.bool_]) -> list[tuple[int, ...]]:
    """Return for each row the columns in which it is true; most rows of an answer are alike, so each is read once."""
    length, width = found_by_NK.shape
    flat = found_by_NK.tobytes()
    rows = [flat[n * width : (n + 1) * width] for n in range(length)]
    columns = {row: tuple(k for k, found in enumerate(row) if found) for row in set(rows)}
    return [columns[row] for row in rows]
