"""A few users drawn at random, with their interests and candidates in words: figures tell how many, these tell what.

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

_MIN_HISTORY = 10  # events of a user whose interests are worth a look, if there are enough such users
_EXAMPLES = 4
_CANDIDATES = 10


def sample_users(
    run: Scorer,
    held: HeldOut,
    kind: TargetKind,
    config: RetrieveConfig,
    budget: int,
    seed: int,
    count: int = 3,
) -> list[dict[str, Any]]:
    """Return ``count`` users, drawn and not chosen, with what the run sees in them and finds for them.

    Args:
        run: the run.
        held: users with targets.
        kind: of the targets; decides whether the past is excluded.
        config: how the run is served.
        budget: N; the first candidates of that list are shown, and its hits counted.
        seed: of the draw.
        count: number of users.
    """
    length_B = held.end_B - run.prepared.event_offset[held.user_B]
    eligible = np.flatnonzero(length_B >= _MIN_HISTORY)
    if len(eligible) < count:
        eligible = np.arange(len(held))
    chosen = generator(seed, "evaluate", "samples").permutation(eligible)[:count]
    users = select_users(held, np.sort(chosen))
    vectors = user_vectors(run, users, config)
    seen = items_to_exclude(seen_items(run.prepared, users), kind)
    found = find_candidates(vectors, catalogue(run, run.item_vectors()), budget, seen, config)
    words = _Describer(run.prepared)
    item_BL = gather_histories(run.prepared, users.user_B, users.end_B, run.config.model.history).item_BL
    return [
        words.describe_user(users, b, item_BL[b], vectors.select(np.array([b])), found[b]) for b in range(len(users))
    ]


class _Describer:
    """Names of the items, topics and interests of a data set."""

    def __init__(self, prepared: PreparedData) -> None:
        self._prepared = prepared
        self._names = ItemNames(PublishedNames(prepared.items))
        self._vocabulary = InterestNamer.build(
            prepared.topics, self._names, prepared.item_topic_offset, prepared.item_topic, prepared.item_count
        )

    def describe_user(
        self,
        users: HeldOut,
        b: int,
        item_L: NDArray[np.int64],
        vectors: UserVectors,
        found: Candidates,
    ) -> dict[str, Any]:
        number = int(users.user_B[b])
        targets = users.target[users.target_offset[b] : users.target_offset[b + 1]]
        interests = [
            self._describe_interest(vectors, k, item_L, float(found.share_K[k]))
            for k in np.flatnonzero(vectors.mask_BK[0]).tolist()
        ]
        names = {interest["column"]: interest["name"] for interest in interests} | {POPULAR: "popular"}
        return {
            "user_id": self._prepared.user_ids[number],
            "events": int(users.end_B[b] - self._prepared.event_offset[number]),
            "follows": [self._prepared.topics[topic] for topic in self._prepared.followed_topics(number).tolist()],
            "targets": len(targets),
            "hits": int(np.isin(targets, found.item_N).sum()),
            "interests": interests,
            "candidates": [
                {"title": self._names.label(item), "interest": names[k], "source": source, "hit": item in targets}
                for item, k, source in zip(
                    found.item_N[:_CANDIDATES].tolist(), found.interest_N.tolist(), found.sources, strict=False
                )
            ],
        }

    def _describe_interest(
        self, vectors: UserVectors, k: int, item_L: NDArray[np.int64], share: float
    ) -> dict[str, Any]:
        own = item_L[(vectors.assignment_BL[0] == k) & (item_L > 0)]
        kind, topics = vectors.kinds[k], self._vocabulary.topics_of(own)
        return {
            "column": k,
            "kind": kind,
            "name": self._vocabulary.name(kind, int(vectors.topic_BK[0, k]), own.tolist(), topics),
            "share": round(share, 4),
            "n_items": len(own),
            "items": [self._names.label(item) for item in dict.fromkeys(own.tolist())][:_EXAMPLES],
        }
