"""What an evaluation asks of a run: vectors for items and users, nothing else.

``train.run.TrainedRun`` and ``train.pinnersage.PinnerSageRun`` answer it.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.histories import Histories
from multitudes.batches.vectors import Kind, Partition, UserVectors
from multitudes.data.prepared import Prepared


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
    def prepared(self) -> Prepared:
        """The data that the run was trained on."""
        ...

    @property
    def config(self) -> ScorerConfig:
        """Settings of the run."""
        ...

    @property
    def shares(self) -> Mapping[Kind, float]:
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
