"""A run as retrieval takes it: the vectors of its users, its items behind the exact index, lists as arrays.

Legend: B users · C conditions · D dimensions · I items · N candidates.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, known_histories
from multitudes.batches.histories import event_times
from multitudes.batches.vectors import Partition, UserVectors
from multitudes.evaluate.scorer import Scorer
from multitudes.index.exact import Exact
from multitudes.index.live import Live
from multitudes.index.postings import topics_of
from multitudes.retrieve.catalogue import Catalogue
from multitudes.retrieve.conditions import draw
from multitudes.retrieve.find import Candidates
from multitudes.retrieve.plan import RetrieveConfig

_REQUEST = "evaluate"  # names the draw of followed topics, so that every evaluation draws the same


class Lists(NamedTuple):
    """What one system returned to B users: item numbers and the column that brought each; zeros at the end."""

    item_BN: NDArray[np.int64]
    interest_BN: NDArray[np.int64]

    def best(self, n: int) -> "Lists":
        """Return the first ``n`` of each list."""
        return Lists(self.item_BN[:, :n], self.interest_BN[:, :n])


def user_vectors(
    run: Scorer, users: HeldOut, config: RetrieveConfig, partition: Partition = "interests"
) -> UserVectors:
    """Return the vectors of the users as known at their cut."""
    histories = known_histories(run.prepared, users.user_B, users.end_B, run.config.model.history)
    topic_BC = draw(histories.follow_BF, config.topics_per_request, config.seed, users.user_B, _REQUEST)
    time_BL = event_times(run.prepared.event_time, users.end_B, run.config.model.history)
    return run.user_vectors(histories, topic_BC, partition, time_BL)


def catalogue(run: Scorer, item_ID: NDArray[np.float32]) -> Catalogue:
    """Return the items of a run as retrieval takes them, behind the exact index."""
    present = np.flatnonzero(item_ID.any(axis=1))
    topics = topics_of(run.prepared.item_topic_offset, run.prepared.item_topic, present)
    return Catalogue(Live(Exact.build(present, item_ID[present], topics)), run.prepared.item_count)


def as_lists(found: Sequence[Candidates], budget: int) -> Lists:
    """Return candidates as rectangular arrays (B, N)."""
    lists = Lists(*(np.zeros((len(found), budget), dtype=np.int64) for _ in range(2)))
    for b, candidates in enumerate(found):
        n = len(candidates.item_N)
        lists.item_BN[b, :n] = candidates.item_N
        lists.interest_BN[b, :n] = candidates.interest_N
    return lists
