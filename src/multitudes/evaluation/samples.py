"""A few random users with their interests and candidates by name, on a map of the items: examples beside the figures.

Legend: B users · L history · K vectors · N candidates · I items · D width · S items of the map.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, seen_items, select_users
from multitudes.batches.histories import event_times, gather_histories
from multitudes.batches.user_vectors import UserVectors
from multitudes.data.own_items import prepared_items
from multitudes.data.prepared import PreparedData
from multitudes.evaluation.targets import TargetKind, items_to_exclude
from multitudes.release.id_mapping import ItemNames, PublishedNames
from multitudes.release.item_map import lay_out_vectors
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.explanation import Explainer
from multitudes.retrieval.interest_names import InterestNamer
from multitudes.retrieval.scorer import Scorer, catalogue, user_vectors
from multitudes.retrieval.search import POPULAR, Candidates, find_candidates
from multitudes.seeding import generator

_MIN_HISTORY = 10  # events of a sampled user, if there are enough such users
_USERS = 3
_EXAMPLES = 4  # items named per interest
_CANDIDATES = 10  # candidates named per user
_MAP_ITEMS = 1_000  # popular items that the map shows around the users' own


class Samples(NamedTuple):
    """Users as records, and the places of popular items around theirs: x and y in [0, 1]."""

    users: list[dict[str, Any]]
    item_map: list[list[float]]


def sample_users(
    run: Scorer,
    held: HeldOut,
    kind: TargetKind,
    config: RetrieveConfig,
    budget: int,
) -> Samples:
    """Return three users, drawn at random, with the interests and candidates that the run finds.

    Args:
        run: the run.
        held: users with targets.
        kind: kind of the targets; decides whether the history is excluded.
        config: how the run is served.
        budget: N; the first candidates of this list are returned, and its hits are counted.
    """
    length_B = held.end_B - run.prepared.event_offset[held.user_B]
    eligible = np.flatnonzero(length_B >= _MIN_HISTORY)
    if len(eligible) < _USERS:
        eligible = np.arange(len(held))
    rows = generator(0, "evaluate", "samples").permutation(eligible)[:_USERS]
    users = select_users(held, np.sort(rows))
    item_ID = run.item_vectors()
    items = catalogue(run, item_ID)
    vectors = user_vectors(run, users, config, items)
    seen = items_to_exclude(seen_items(run.prepared, users), kind)
    found = find_candidates(vectors, items, budget, seen, config)
    item_BL = gather_histories(run.prepared, users.user_B, users.end_B, run.config.model.history).item_BL
    own = np.concatenate([item_BL.ravel(), *(one.item_N[:_CANDIDATES] for one in found)])
    item_map = _lay_out(item_ID, run.prepared.item_count, own)
    describer = _Describer(run.prepared, Explainer(items.index), item_map, run.config.model.history)
    described = [describer.describe_user(users, b, item_BL[b], vectors, found[b]) for b in range(len(users))]
    others = item_map.keys() - set(own.tolist())
    return Samples(described, [list(item_map[item]) for item in sorted(others)])


def _lay_out(
    item_ID: NDArray[np.float32], item_count: NDArray[np.int64], own: NDArray[np.int64]
) -> dict[int, tuple[float, float]]:
    """Return the places of the most popular items and of ``own``; only items with a vector have one."""
    with_vector = np.flatnonzero(item_ID.any(axis=1))
    popular = with_vector[np.argsort(-np.asarray(item_count)[with_vector], kind="stable")[:_MAP_ITEMS]]
    item_S = np.union1d(popular, own[np.isin(own, with_vector)])
    places = np.round(lay_out_vectors(item_ID[item_S]).astype(np.float64), 3).tolist()
    return {item: (x, y) for item, (x, y) in zip(item_S.tolist(), places, strict=True)}


class _Describer:
    """Names users' items, topics and interests, and places their items."""

    def __init__(
        self, prepared: PreparedData, explainer: Explainer, item_map: dict[int, tuple[float, float]], length: int
    ) -> None:
        self._prepared, self._explainer, self._item_map, self._length = prepared, explainer, item_map, length
        self._names = ItemNames(PublishedNames(prepared.items))
        self._namer = InterestNamer.build(
            prepared.topics, self._names, prepared.item_topic_offset, prepared.item_topic, prepared.item_count
        )

    def describe_user(
        self,
        users: HeldOut,
        b: int,
        item_L: NDArray[np.int64],
        all_vectors: UserVectors,
        candidates: Candidates,
    ) -> dict[str, Any]:
        number, vectors = int(users.user_B[b]), all_vectors.select(np.array([b]))
        targets = users.target[users.target_offset[b] : users.target_offset[b + 1]]
        own = prepared_items(self._prepared, users.user_B[b : b + 1], users.end_B[b : b + 1])
        interests = [
            self._describe_interest(vectors, k, name, item_L, float(candidates.share_K[k]))
            for k, name in enumerate(self._namer.name_all(vectors, item_L[None]))
            if name is not None
        ]
        names = {interest["column"]: interest["name"] for interest in interests} | {POPULAR: "popular"}
        return {
            "user_id": self._prepared.user_ids[number],
            "events": int(users.end_B[b] - self._prepared.event_offset[number]),
            "follows": [self._prepared.topics[topic] for topic in self._prepared.followed_topics(number).tolist()],
            "targets": len(targets),
            "hits": int(np.isin(targets, candidates.item_N).sum()),
            "interests": interests,
            "history": self._describe_history(users, b, item_L, vectors.assignment_BL[0]),
            "candidates": [
                {
                    **self._place(item),
                    "interest": names[k],
                    "source": source,
                    "brought_by": k if k >= 0 else None,
                    "because": [self._names.label(reason) for reason in reasons if reason],
                    "hit": item in targets,
                }
                for item, k, reasons, source in zip(
                    candidates.item_N[:_CANDIDATES].tolist(),
                    candidates.interest_N.tolist(),
                    self._explainer.explain(own.item_M, candidates).tolist(),
                    candidates.sources,
                    strict=False,
                )
            ],
        }

    def _describe_history(
        self, users: HeldOut, b: int, item_L: NDArray[np.int64], interest_L: NDArray[np.int64]
    ) -> list[dict[str, Any]]:
        """Return the known items of a history, newest first; ``time_s`` is None where only the order is known."""
        time_L = event_times(self._prepared.event_time, users.end_B[b : b + 1], self._length)[0]
        return [
            {
                **self._place(int(item_L[row])),
                "interest": int(interest_L[row]) if interest_L[row] >= 0 else None,
                "time_s": None if self._prepared.ordered_only else int(time_L[row]),
            }
            for row in np.flatnonzero(item_L > 0).tolist()
        ]

    def _place(self, item: int) -> dict[str, Any]:
        x, y = self._item_map.get(item, (None, None))
        return {"title": self._names.label(item), "x": x, "y": y}

    def _describe_interest(
        self, vectors: UserVectors, k: int, name: str, item_L: NDArray[np.int64], share: float
    ) -> dict[str, Any]:
        items = item_L[(vectors.assignment_BL[0] == k) & (item_L > 0)]
        return {
            "column": k,
            "kind": vectors.kinds[k],
            "name": name,
            "share": round(share, 4),
            "n_items": len(items),
            "items": [self._names.label(item) for item in dict.fromkeys(items.tolist())][:_EXAMPLES],
        }
