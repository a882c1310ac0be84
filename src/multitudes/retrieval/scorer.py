"""The protocol of a run that can be evaluated, and its vectors in the form that retrieval takes.

Every kind of run implements the protocol; ``training.runs.open_run`` names them.

Legend: B users · L history · C conditions · D dimensions · I items.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, held_out_histories
from multitudes.batches.histories import event_times
from multitudes.batches.user_vectors import UserHistories, UserVectors
from multitudes.data.own_items import positive_items
from multitudes.data.prepared import PreparedData
from multitudes.index.exact import ExactIndex
from multitudes.index.item_table import select_topics
from multitudes.index.live import LiveIndex
from multitudes.index.tastes import cluster_items, nearest_tastes
from multitudes.linear.neighbours import NeighbourSource
from multitudes.linear.popularity import user_counts
from multitudes.nn.methods import Partition
from multitudes.retrieval.allocation import with_own_events, with_taste_events, with_tastes
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.preferences import draw_topics
from multitudes.run_record import ListDefaults

_REQUEST_ID = "evaluate"  # keys the draw of followed topics, so every evaluation draws the same


class ScorerModel(Protocol):
    """The setting of a model that an evaluation needs."""

    @property
    def history(self) -> int:
        """L, the most recent events that the user tower reads."""


class ScorerConfig(Protocol):
    """The settings of a run that an evaluation reports."""

    @property
    def method(self) -> str:
        """Name of the method, such as ``joint``."""

    @property
    def seed(self) -> int:
        """Seed of the training."""

    @property
    def model(self) -> ScorerModel:
        """Settings of the model."""


class Scorer(Protocol):
    """A run that can be evaluated: it makes vectors of items and users."""

    @property
    def prepared(self) -> PreparedData:
        """The data that the run was trained on."""

    @property
    def config(self) -> ScorerConfig:
        """Settings of the run."""

    @property
    def neighbours(self) -> NeighbourSource | None:
        """What own events propose beside the vectors; None: nothing."""

    @property
    def list_defaults(self) -> ListDefaults:
        """How its lists are made, unless the settings say otherwise."""

    @property
    def controls(self) -> tuple[Partition, ...]:
        """Partitions beside "interests" that ``user_vectors`` can make."""

    def item_vectors(self) -> NDArray[np.float32]:
        """Return the vectors of all items (I + 1, D); one whose vector is zero has none and is never a candidate."""

    def user_vectors(self, users: UserHistories, partition: Partition = "interests") -> UserVectors:
        """Return the vectors of B users.

        Args:
            users: the users.
            partition: interests: divide the history by interest. Controls: random: divide it at random; other_user:
                the run's own interests, each on the condition of another of the B users.
        """


def user_vectors(
    run: Scorer, users: HeldOut, config: RetrieveConfig, items: Catalogue, partition: Partition = "interests"
) -> UserVectors:
    """Return the vectors of users as of their cut, with the parts of the list of their tastes."""
    histories = held_out_histories(run.prepared, users.user_B, users.end_B, run.config.model.history)
    topic_BC = draw_topics(histories.follow_BF, config.topics_per_request, users.user_B, _REQUEST_ID)
    time_BL = event_times(run.prepared.event_time, users.end_B, run.config.model.history)
    positives = positive_items(run.prepared, users.user_B, users.end_B)
    vectors = run.user_vectors(UserHistories(histories, topic_BC, time_BL, positives), partition)
    vectors = with_tastes(vectors, positives, items, config.calibration or 0.0)
    vectors = with_own_events(vectors, positives, histories.item_BL, items)
    return with_taste_events(vectors, histories.item_BL, items)


def catalogue(run: Scorer, item_ID: NDArray[np.float32], *, tastes: bool = True) -> Catalogue:
    """Return the items of a run as a catalogue with the exact index; without ``tastes``, lists are not calibrated."""
    present = np.flatnonzero(item_ID.any(axis=1))
    topics = select_topics(run.prepared.item_topic_offset, run.prepared.item_topic, present)
    every = len(present) == len(item_ID) - 1  # then a view, for a copy of a large table takes gigabytes
    index = LiveIndex(ExactIndex.build(present, item_ID[1:] if every else item_ID[present], topics))
    item_taste = nearest_tastes(item_ID, cluster_items(item_ID)) if tastes else None
    return Catalogue(index, user_counts(run.prepared), item_taste, run.neighbours)
