"""Metrics of a list: a function and its words each, here and in plugins. The mean over users; higher is better.

Legend: B users · N places of a list · T targets, flat by user · I items · P pairs of user and item.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, seen_items
from multitudes.data.prepared import PreparedData
from multitudes.linear.reference_clusters import ReferenceInterests
from multitudes.metrics import coverage, diversity, ranking
from multitudes.plugins import Registry

Column = NDArray[np.float64]


class ItemFacts(NamedTuple):
    """Facts about the items that measures need; the popularity class is 0 head, 1 torso, 2 tail."""

    prepared: PreparedData
    popularity_class: NDArray[np.int64]

    @classmethod
    def from_prepared(cls, prepared: PreparedData) -> "ItemFacts":
        """Collect the facts of a data set."""
        return cls(prepared, diversity.popularity_class(prepared.item_count).astype(np.int64))

    def topic_counts(self, user_P: NDArray[np.int64], item_P: NDArray[np.int64], n_users: int) -> NDArray[np.int64]:
        """Return how often each topic occurs among each user's items (B, T + 1); column 0 stays zero."""
        topics = np.asarray(self.prepared.item_topic_offset), np.asarray(self.prepared.item_topic)
        return diversity.topic_counts(user_P, item_P, *topics, (n_users, self.prepared.n_topics + 1))


class EvaluatedLists(NamedTuple):
    """The lists of B users with their targets: what a metric reads."""

    item_BN: NDArray[np.int64]  # item numbers, best first; zeros at the end are not candidates
    rank_T: Column  # rank of each target in its user's list, from 1; infinite if it is not there
    held: HeldOut  # held.target[held.target_offset[b] : held.target_offset[b + 1]]: the targets of user b
    items: ItemFacts  # with the prepared data: items.prepared.item_count are the training events of each item
    reference: ReferenceInterests | None = None  # the interests of the users

    @property
    def ranks(self) -> tuple[Column, NDArray[np.int64], int]:
        """The ranks, the offsets of each user's targets, and N: what ranking metrics take."""
        return self.rank_T, self.held.target_offset, self.item_BN.shape[1]

    @property
    def histories(self) -> list[NDArray[np.int64]]:
        """The distinct items of each user before the targets, newest first."""
        return seen_items(self.items.prepared, self.held)


class Metric(NamedTuple):
    """A metric of a list: one function and its words."""

    label: str  # head of its column
    meaning: str  # what it is, as the end of a sentence
    values: Callable[[EvaluatedLists], Column]  # of each user (B,); NaN where it is not defined: not in the mean
    digits: int = 3  # after the point, in tables


def _served_share(lists: EvaluatedLists) -> Column:
    if lists.reference is None:
        return np.full(len(lists.held), np.nan)
    clusters = lists.reference.clusters
    return coverage.served_share(clusters.list_shares(lists.item_BN), clusters.history_BC)


def _topics_hit(lists: EvaluatedLists) -> Column:
    is_hit_T = np.isfinite(lists.rank_T)
    user_P = ranking.target_rows(lists.held.target_offset)[is_hit_T]
    counts_BT = lists.items.topic_counts(user_P, lists.held.target[is_hit_T], len(lists.held))
    return diversity.coverage(counts_BT).astype(np.float64)


METRICS: Final = Registry(
    "metrics",
    Metric,
    {
        "served": Metric("served", "share of a user's interests that get half their share of the list", _served_share),
        "recall": Metric("recall", "share of a user's targets in the list", lambda lists: ranking.recall(*lists.ranks)),
        "ndcg": Metric("NDCG", "the same, weighted by place", lambda lists: ranking.ndcg(*lists.ranks)),
        "topics": Metric("topics hit", "distinct topics of the targets in the list", _topics_hit, digits=2),
    },
)
