"""The method ``followed``: an inverted index from topics to items, served like any other model. Needs no torch.

::

    RUN/run.json      as of a trained run; config.method is "followed"

The vector of an item is its popularity, that of a followed topic is 1, and the index returns the items of a topic
alone (``[retrieve] relevance_filter``): the most popular ones of each topic. Nothing is learned, so the run has no
other file.

Legend: B users · L history · C conditions · I items.
"""

from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from multitudes.atomic import replace_folder
from multitudes.batches.user_vectors import InterestKind, UserHistories, UserVectors
from multitudes.config import Config
from multitudes.data.prepared import PreparedData
from multitudes.errors import DataError
from multitudes.linear.popularity import user_counts
from multitudes.nn.methods import FOLLOWED, Partition
from multitudes.run_record import (
    ListDefaults,
    UntrainedRun,
    WithoutEvents,
    needs_making,
    new_record,
    open_untrained,
    write_record,
)

_KIND: Final[tuple[InterestKind, ...]] = ("explicit",)
_WIDTH: Final = 2  # one number would do, but Milvus holds no vectors of one: the second is zero


class FollowedConfig(WithoutEvents):
    """There are no settings."""


class FollowedRunConfig(Config):
    """The settings of a run, named like those of a trained run."""

    method: Literal["followed"] = FOLLOWED
    seed: int = 0  # kept for comparisons by seed; nothing is drawn
    model: FollowedConfig = FollowedConfig()


class FollowedRun(UntrainedRun[FollowedRunConfig]):
    """The inverted index of a prepared data set: items without a topic have no vector."""

    list_defaults = ListDefaults({"explicit": 1.0}, "round_robin", 0.0)  # the topics take turns

    def __init__(self, path: Path, prepared: PreparedData, config: FollowedRunConfig) -> None:
        vectors_ID = np.zeros((prepared.n_items + 1, _WIDTH), dtype=np.float32)
        has_topic = np.diff(prepared.item_topic_offset) > 0
        vectors_ID[has_topic, 0] = 1 + user_counts(prepared)[has_topic]  # items without users come last
        super().__init__(path, prepared, config, vectors_ID)

    @classmethod
    def open(cls, path: str | Path, prepared: str | Path | None = None) -> "FollowedRun":
        """Open a run; see ``training.runs.open_run``."""
        return cls(*open_untrained(FollowedRunConfig, path, prepared))

    def kinds(self, topics: int) -> tuple[InterestKind, ...]:
        """Return the kind of every column of the user vectors for ``topics`` conditions."""
        return _KIND * topics

    def user_vectors(self, users: UserHistories, partition: Partition = "interests") -> UserVectors:
        """Return the vectors of B users; see ``retrieval.scorer.Scorer``."""
        del partition
        return topic_vectors(users.topic_BC, users.histories.item_BL.shape[1])


def topic_vectors(topic_BC: NDArray[np.int64], history_length: int) -> UserVectors:
    """Return a vector for each followed topic of B users, 0 = none; of their L events, none belongs to a topic."""
    mask_BK = topic_BC > 0
    vectors_BKD = np.zeros((*topic_BC.shape, _WIDTH), dtype=np.float32)
    vectors_BKD[..., 0] = mask_BK
    vectors = UserVectors.alike(_KIND * topic_BC.shape[1], vectors_BKD, mask_BK, history_length)
    return vectors._replace(topic_BK=topic_BC)


def make_followed_run(
    prepared: PreparedData, out: str | Path, *, seed: int = 0, resume: bool = False, overwrite: bool = False
) -> FollowedRun:
    """Make a run of the inverted index from topics to items; see ``make_linear_run``.

    Raises:
        DataError: no item has a topic.
    """
    if not len(prepared.item_topic):
        raise DataError(f"{prepared.path}: no item has a topic; give the items a column 'topics'")
    record = new_record(prepared, FollowedRunConfig(seed=seed).model_dump(mode="json"))
    if needs_making(Path(out), record, resume=resume, overwrite=overwrite):
        with replace_folder(Path(out)) as partial:
            write_record(partial, record | {"finished": True})
    return FollowedRun.open(out, prepared.path)
