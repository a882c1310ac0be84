"""What an evaluation asks of a run: vectors for items and users, nothing else.

``train.run.TrainedRun`` and ``train.pinnersage.PinnerSageRun`` answer it.

A run as retrieval takes it: the vectors of its users, its items behind the exact index, lists as arrays.

Legend: B users · C conditions · D dimensions · I items · N candidates.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, held_out_histories
from multitudes.batches.histories import Histories, event_times
from multitudes.batches.user_vectors import InterestKind, Partition, UserVectors
from multitudes.data.prepared import PreparedData
from multitudes.index.exact import ExactIndex
from multitudes.index.item_table import select_topics
from multitudes.index.live import LiveIndex
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.preferences import draw_topics
from multitudes.retrieval.search import Candidates


class ScorerModel(Protocol):
    """The setting of a model that its evaluation needs."""

    @property
    def history(self) -> int:
        """Number of most recent events that the user tower reads."""
        ...


class ScorerConfig(Protocol):
    """The settings of a run that its evaluation names."""

    @property
    def method(self) -> str:
        """Name of the method, such as ``joint``."""
        ...

    @property
    def seed(self) -> int:
        """Seed with which the run was trained."""
        ...

    @property
    def model(self) -> ScorerModel:
        """Settings of the model."""
        ...


class Scorer(Protocol):
    """A trained run. Legend: B users · C conditions · D dimensions · I items."""

    @property
    def prepared(self) -> PreparedData:
        """The data that the run was trained on."""
        ...

    @property
    def config(self) -> ScorerConfig:
        """Settings of the run."""
        ...

    @property
    def shares(self) -> Mapping[InterestKind, float]:
        """What share of the budget each kind of vector earned in validation; empty: unknown."""
        ...

    @property
    def blend(self) -> Literal["mixture", "round_robin", "global_top"]:
        """How the run is served unless the settings say otherwise."""
        ...

    def item_vectors(self) -> NDArray[np.float32]:
        """Return the vectors of all items, shape (I + 1, D); row 0 is the unknown item.

        An item whose vector is all zeros has none: it is never a candidate.
        """
        ...

    def user_vectors(
        self,
        histories: Histories,
        topic_BC: NDArray[np.int64],
        partition: Partition = "interests",
        time_BL: NDArray[np.int64] | None = None,
    ) -> UserVectors:
        """Return the vectors of B users.

        Args:
            histories: what is known of the users.
            topic_BC: the conditions of explicit vectors, 0 = none.
            partition: random: the history is parted at random in place of by interest.
            time_BL: of the history's events, seconds or positions; None: nobody knows them.
        """
        ...


_REQUEST_ID = "evaluate"  # names the draw of followed topics, so that every evaluation draws the same


class RankedLists(NamedTuple):
    """What one system returned to B users: item numbers and the column that brought each; zeros at the end."""

    item_BN: NDArray[np.int64]
    interest_BN: NDArray[np.int64]

    def top(self, n: int) -> "RankedLists":
        """Return the first ``n`` of each list."""
        return RankedLists(self.item_BN[:, :n], self.interest_BN[:, :n])


def user_vectors(
    run: Scorer, users: HeldOut, config: RetrieveConfig, partition: Partition = "interests"
) -> UserVectors:
    """Return the vectors of the users as known at their cut."""
    histories = held_out_histories(run.prepared, users.user_B, users.end_B, run.config.model.history)
    topic_BC = draw_topics(histories.follow_BF, config.topics_per_request, config.seed, users.user_B, _REQUEST_ID)
    time_BL = event_times(run.prepared.event_time, users.end_B, run.config.model.history)
    return run.user_vectors(histories, topic_BC, partition, time_BL)


def catalogue(run: Scorer, item_ID: NDArray[np.float32]) -> Catalogue:
    """Return the items of a run as retrieval takes them, behind the exact index."""
    present = np.flatnonzero(item_ID.any(axis=1))
    topics = select_topics(run.prepared.item_topic_offset, run.prepared.item_topic, present)
    return Catalogue(LiveIndex(ExactIndex.build(present, item_ID[present], topics)), run.prepared.item_count)


def ranked_lists(found: Sequence[Candidates], budget: int) -> RankedLists:
    """Return candidates as rectangular arrays (B, N)."""
    lists = RankedLists(*(np.zeros((len(found), budget), dtype=np.int64) for _ in range(2)))
    for b, candidates in enumerate(found):
        n = len(candidates.item_N)
        lists.item_BN[b, :n] = candidates.item_N
        lists.interest_BN[b, :n] = candidates.interest_N
    return lists
