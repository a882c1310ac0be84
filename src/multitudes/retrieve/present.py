"""From numbers to what a person understands: ids, titles, names of interests.

Legend: B users · L history · K vectors.
"""

from itertools import compress

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.vectors import UserVectors
from multitudes.release.release import Release
from multitudes.retrieve.find import POPULAR, Candidates
from multitudes.retrieve.names import Vocabulary
from multitudes.retrieve.people import Asked
from multitudes.retrieve.recommendation import Candidate, Interest, Recommendation

_EXAMPLES = 3  # history items shown for an interest
_DAY_S = 86_400


class Presenter:
    """Knows the names of one release."""

    def __init__(self, release: Release) -> None:
        self._version = release.version
        self._names = release.item_names
        self._vocabulary = Vocabulary.build(
            release.topics, self._names, release.item_topic_offset, release.item_topic, release.item_count
        )
        # Ages are counted from the newest event of the release; positions have no age.
        self._newest = None if release.manifest.ordered_only else int(release.event_time.max(initial=0))

    def recommendation(
        self, asked: Asked, b: int, vectors: UserVectors, share_K: NDArray[np.float64], found: Candidates, reason: str
    ) -> Recommendation:
        """Return the answer to user ``b``; ``share_K`` is the share of the list that each vector gets."""
        interests = tuple(
            self._interest(asked, b, vectors, k, float(share_K[k])) for k in np.flatnonzero(vectors.mask_BK[b]).tolist()
        )
        return Recommendation(
            user_id=asked.ids[b],
            release=self._version,
            candidates=self._candidates(found, {interest.number: interest.name for interest in interests}),
            interests=interests,
            reason=reason,
            unknown_items=asked.unknown_items_B[b],
            unknown_topics=asked.unknown_topics_B[b],
        )

    def _interest(self, asked: Asked, b: int, vectors: UserVectors, k: int, share: float) -> Interest:
        kind, item_L = vectors.kinds[k], asked.histories.item_BL[b]
        own = np.flatnonzero((vectors.cluster_BL[b] == k) & (item_L > 0))  # newest first, as the history is
        age = None
        if len(own) and asked.time_BL is not None and self._newest is not None:
            age = (self._newest - int(asked.time_BL[b, own[0]])) / _DAY_S
        return Interest(
            number=k,
            kind=kind,
            name=self._vocabulary.name(kind, int(vectors.topic_BK[b, k]), item_L[own]),
            share=share,
            items=tuple(self._names.shown(i) for i in list(dict.fromkeys(item_L[own].tolist()))[:_EXAMPLES]),
            n_items=len(own),
            age_days=age,
        )

    def _candidates(self, found: Candidates, names: dict[int, str]) -> tuple[Candidate, ...]:
        vectors = range(len(found.kinds))
        rows = zip(
            found.item_N.tolist(),
            found.score_N.tolist(),
            found.sources,
            found.interest_N.tolist(),
            found.found_by_NK.tolist(),
            strict=True,
        )
        # An index that many processes share may hold items that have come since this state was taken.
        known = (row for row in rows if row[0] <= len(self._names))
        return tuple(
            Candidate(
                item_id=self._names.named(item).id,
                title=self._names.named(item).title,
                score=score,
                rank=rank,
                source=source,
                interest=None if k == POPULAR else k,
                interest_name=names.get(k),
                found_by=tuple(compress(vectors, found_by)),
            )
            for rank, (item, score, source, k, found_by) in enumerate(known, start=1)
        )
