"""A few random users with their interests and candidates by name: examples beside the figures.

Legend: B users · L history · K vectors.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, select_users
from multitudes.batches.histories import gather_histories
from multitudes.batches.user_vectors import UserVectors
from multitudes.data.prepared import PreparedData
from multitudes.evaluation.scorer import Scorer, catalogue, user_vectors
from multitudes.evaluation.targets import TargetKind, items_to_exclude, seen_items
from multitudes.release.id_mapping import ItemNames, PublishedNames
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.interest_names import InterestNamer
from multitudes.retrieval.search import POPULAR, Candidates, find_candidates
from multitudes.seeding import generator

_MIN_HISTORY = 10  # events of a sampled user, if there are enough such users
_EXAMPLES = 4  # items named per interest
_CANDIDATES = 10  # candidates named per user


def sample_users(
    run: Scorer,
    held: HeldOut,
    kind: TargetKind,
    config: RetrieveConfig,
    budget: int,
    seed: int,
    count: int = 3,
) -> list[dict[str, Any]]:
    """Return ``count`` users, drawn at random, with the interests and candidates that the run finds.

    Args:
        run: the run.
        held: users with targets.
        kind: kind of the targets; decides whether the history is excluded.
        config: how the run is served.
        budget: N; the first candidates of this list are returned, and its hits are counted.
        seed: seed of the draw.
        count: number of users.
    """
    length_B = held.end_B - run.prepared.event_offset[held.user_B]
    eligible = np.flatnonzero(length_B >= _MIN_HISTORY)
    if len(eligible) < count:
        eligible = np.arange(len(held))
    rows = generator(seed, "evaluate", "samples").permutation(eligible)[:count]
    users = select_users(held, np.sort(rows))
    vectors = user_vectors(run, users, config)
    seen = items_to_exclude(seen_items(run.prepared, users), kind)
    found = find_candidates(vectors, catalogue(run, run.item_vectors()), budget, seen, config)
    describer = _Describer(run.prepared)
    item_BL = gather_histories(run.prepared, users.user_B, users.end_B, run.config.model.history).item_BL
    return [
        describer.describe_user(users, b, item_BL[b], vectors.select(np.array([b])), found[b])
        for b in range(len(users))
    ]


class _Describer:
    """Names users' items, topics and interests."""

    def __init__(self, prepared: PreparedData) -> None:
        self._prepared = prepared
        self._names = ItemNames(PublishedNames(prepared.items))
        self._namer = InterestNamer.build(
            prepared.topics, self._names, prepared.item_topic_offset, prepared.item_topic, prepared.item_count
        )

    def describe_user(
        self,
        users: HeldOut,
        b: int,
        item_L: NDArray[np.int64],
        vectors: UserVectors,
        candidates: Candidates,
    ) -> dict[str, Any]:
        number = int(users.user_B[b])
        targets = users.target[users.target_offset[b] : users.target_offset[b + 1]]
        interests = [
            self._describe_interest(vectors, k, item_L, float(candidates.share_K[k]))
            for k in np.flatnonzero(vectors.mask_BK[0]).tolist()
        ]
        names = {interest["column"]: interest["name"] for interest in interests} | {POPULAR: "popular"}
        return {
            "user_id": self._prepared.user_ids[number],
            "events": int(users.end_B[b] - self._prepared.event_offset[number]),
            "follows": [self._prepared.topics[topic] for topic in self._prepared.followed_topics(number).tolist()],
            "targets": len(targets),
            "hits": int(np.isin(targets, candidates.item_N).sum()),
            "interests": interests,
            "candidates": [
                {"title": self._names.label(item), "interest": names[k], "source": source, "hit": item in targets}
                for item, k, source in zip(
                    candidates.item_N[:_CANDIDATES].tolist(),
                    candidates.interest_N.tolist(),
                    candidates.sources,
                    strict=False,
                )
            ],
        }

    def _describe_interest(
        self, vectors: UserVectors, k: int, item_L: NDArray[np.int64], share: float
    ) -> dict[str, Any]:
        items = item_L[(vectors.assignment_BL[0] == k) & (item_L > 0)]
        kind, topics = vectors.kinds[k], self._namer.topics_of(items)
        return {
            "column": k,
            "kind": kind,
            "name": self._namer.name(kind, int(vectors.topic_BK[0, k]), items.tolist(), topics),
            "share": round(share, 4),
            "n_items": len(items),
            "items": [self._names.label(item) for item in dict.fromkeys(items.tolist())][:_EXAMPLES],
        }
