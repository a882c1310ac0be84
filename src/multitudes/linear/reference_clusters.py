"""Reference clusters divide items into interests, so that lists can be compared by the interests that they serve.

A list must not be measured by what made it. So the clusters are those of singular vectors of the training events, which
no list is made from, and the topics are the first topic of each item.

Legend: B users · I items · R singular vectors · C classes.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from multitudes.batches.held_out import HeldOut
from multitudes.data.own_items import prepared_items
from multitudes.data.prepared import PreparedData
from multitudes.index.tastes import NO_TASTE, cluster_items, nearest_tastes
from multitudes.linear.interactions import interaction_matrix, item_factors
from multitudes.metrics.coverage import class_shares

CLUSTERS: Final = 30
_RANK: Final = 32


class UserInterests(NamedTuple):
    """The classes of the items, and the share of each in the positive history of B users."""

    class_I: NDArray[np.int64]  # −1: none
    history_BC: NDArray[np.float64]

    @property
    def n_classes(self) -> int:
        """The number of classes, C."""
        return int(self.history_BC.shape[1])

    def list_shares(self, item_BN: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the share of each class in the lists of the users (B, C); zeros are not candidates."""
        user_P, place_P = np.nonzero(item_BN > 0)
        return class_shares(user_P, self.class_I[item_BN[user_P, place_P]], self.history_BC.shape)


class ReferenceInterests(NamedTuple):
    """The interests of B users, by clusters and by topics."""

    clusters: UserInterests
    topics: UserInterests


class ReferenceClusters(NamedTuple):
    """The class of each item (I + 1,), by clusters and by topics; −1: none."""

    cluster_I: NDArray[np.int64]
    topic_I: NDArray[np.int64]

    @classmethod
    def from_prepared(cls, prepared: PreparedData) -> "ReferenceClusters":
        """Make those of a data set from its training events and its topics."""
        with threadpool_limits(1):  # sums of several threads would depend on their number
            vectors_IR = item_factors(interaction_matrix(prepared), _RANK)
            clusters = nearest_tastes(vectors_IR, cluster_items(vectors_IR, CLUSTERS))
        offset, topic_I = prepared.item_topic_offset, np.full(prepared.n_items + 1, NO_TASTE, dtype=np.int64)
        has_topic_I = np.diff(offset) > 0
        topic_I[has_topic_I] = prepared.item_topic[offset[:-1][has_topic_I]]
        return cls(clusters.astype(np.int64), topic_I)

    def interests(self, prepared: PreparedData, held: HeldOut) -> ReferenceInterests:
        """Return the interests of users, from their positive history before their cut."""
        own = prepared_items(prepared, held.user_B, held.end_B)
        return ReferenceInterests(
            *(
                UserInterests(c_I, class_shares(own.rows, c_I[own.item_M], (len(held), max(int(c_I.max()) + 1, 1))))
                for c_I in self
            )
        )
