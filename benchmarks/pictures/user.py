"""One user of a planted world as each method represents them, for the pictures of docs/methods.

The world and the user are chosen before anything is trained. Every method is trained by its defaults but for its size,
and asked about the same moment: the user's training and validation events are the history.

Legend: L history, column 0 the most recent · K vectors · I items · D dimensions.
"""

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.examples import item_topics
from multitudes.batches.held_out import HeldOut, held_out_users, select_users
from multitudes.batches.histories import event_times, followed_topics, gather_histories
from multitudes.batches.user_vectors import UserVectors
from multitudes.data.planted import PlantedConfig, PlantedWorld, plant, write_world
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData
from multitudes.metrics.interests import adjusted_rand_index
from multitudes.nn.methods import Method
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.pinnersage.clustering import PinnerSageConfig
from multitudes.retrieval.scorer import Scorer
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.loop import train
from multitudes.training.runs import make_pinnersage_run

WORLD = PlantedConfig(users=400, items=600, events=16_000, niches=30, topics=10)
HISTORY = 30
MODEL = {"width": 16, "history": HISTORY, "dropout": 0.1, "crossing": {"hidden": 32}}
TRAIN = TrainConfig(epochs=5, learning_rate=0.01, batch_size=64, window=5, in_batch=256, uniform=256)
TOPICS = 5  # conditions of a request
NOISE = -1  # an event of no taste; an event in no interest


class PlantedData(NamedTuple):
    """A planted world and its prepared form; both hold the events in the same order."""

    world: PlantedWorld
    prepared: PreparedData


class UserPicture(NamedTuple):
    """One user's history, and what a method makes of it."""

    item_L: NDArray[np.int64]
    taste_L: NDArray[np.int64]  # the taste behind each event, 0 the one with most events; NOISE = none
    column_L: NDArray[np.int64]  # the vector that each event belongs to; NOISE = none
    vectors: UserVectors  # of this user alone
    item_ID: NDArray[np.float32]


class PlantedUser:
    """The user of the pictures, and all users for comparison."""

    def __init__(self, planted: PlantedData, user: int | None = None) -> None:
        self.world, self.prepared = planted
        self.user = chosen_user(planted) if user is None else user

    @cached_property
    def held(self) -> HeldOut:
        """Everybody who has something held out, with the history up to there."""
        return held_out_users(self.prepared, "test")

    @cached_property
    def alone(self) -> HeldOut:
        """The user alone."""
        return select_users(self.held, np.array([self.row]))

    @cached_property
    def row(self) -> int:
        """The user's row among ``held``."""
        return int(np.flatnonzero(self.held.user_B == self.user)[0])

    def vectors(self, run: Scorer) -> UserVectors:
        """Return the vectors of ``run`` for all users in ``held``."""
        user_B, end_B = self.held.user_B, self.held.end_B
        histories = gather_histories(self.prepared, user_B, end_B, HISTORY)
        times_BL = event_times(self.prepared.event_time, end_B, HISTORY)
        return run.user_vectors(histories, followed_topics(self.prepared, user_B)[:, :TOPICS], time_BL=times_BL)

    def seen(self, vectors: UserVectors, item_ID: NDArray[np.float32]) -> UserPicture:
        """Return what is drawn of this user; unusable events are left out."""
        histories = gather_histories(self.prepared, self.alone.user_B, self.alone.end_B, HISTORY)
        usable_L, item_L = histories.valid_BL[0], histories.item_BL[0]
        mine = vectors.select(slice(self.row, self.row + 1))
        column_L = assign_vectors(mine, item_topics(self.prepared, item_L))
        return UserPicture(item_L[usable_L], self._tastes()[usable_L], column_L[usable_L], mine, item_ID)

    def topic_names(self) -> dict[int, str]:
        """Return what each topic is called, with the user's tastes in it."""
        niche_K = self.world.user_taste_UK[self.user, self._by_size]
        topic_K = self.world.niche_topic[niche_K]
        names = {}
        for number, topic in enumerate(self.prepared.topics):
            mine = [f"taste {k + 1}" for k in range(len(topic_K)) if topic == f"topic-{topic_K[k]:03d}"]
            names[number] = f"{topic}, of {' and '.join(mine) or 'no taste'}"
        return names

    def _tastes(self) -> NDArray[np.int64]:
        """Return the taste behind each event, numbered from the one with most events."""
        column_L = history_tastes(self.world, int(self.alone.end_B[0]), HISTORY)
        place_K = np.argsort(self._by_size)
        return np.where(column_L == NOISE, NOISE, place_K[column_L])

    @cached_property
    def _by_size(self) -> NDArray[np.int64]:
        """The user's tastes, the one with most events first."""
        column_L = history_tastes(self.world, int(self.alone.end_B[0]), HISTORY)
        return np.argsort(-np.bincount(column_L + 1, minlength=self.world.config.tastes + 1)[1:], kind="stable")

    def agreement(self, vectors: UserVectors) -> tuple[float, float]:
        """Return the adjusted Rand index of interests and tastes: for this user, and the mean over all users."""
        scores = np.array([_agreement(self.world, vectors, self.held, b) for b in range(len(self.held))])
        return float(scores[self.row]), float(np.mean(scores))


def prepare_planted(folder: Path, config: PlantedConfig = WORLD) -> PlantedData:
    """Plant a world and prepare it, each user's last events held out; what the folder holds already is taken."""
    world = plant(config)
    if (folder / "prepared").exists():
        return PlantedData(world, PreparedData.open(folder / "prepared"))
    write_world(world, folder / "data")
    return PlantedData(world, prepare(folder / "data", folder / "prepared", PrepareConfig(split="user")))


def train_method(prepared: PreparedData, method: Method, folder: Path, settings: TrainConfig = TRAIN) -> Scorer:
    """Return a run of ``method``."""
    config = RunConfig(method=method, model=UserTowerConfig.model_validate(MODEL), train=settings)
    return train(prepared, config, folder / method, resume=True)


def cluster_embeddings(prepared: PreparedData, over: Path, folder: Path) -> Scorer:
    """Return a run of PinnerSage over the item vectors of another run."""
    return make_pinnersage_run(
        prepared, folder / "pinnersage", PinnerSageConfig(vectors=str(over), history=HISTORY), resume=True
    )


def chosen_user(planted: PlantedData, least: int = 5) -> int:
    """Return the first user with a full history of three tastes, the largest at least twice the smallest.

    Each taste has at least ``least`` events; the user follows the topics of two or more tastes and one of none.
    """
    world, prepared = planted
    held = held_out_users(prepared, "test")
    for user, end in zip(held.user_B.tolist(), held.end_B.tolist(), strict=True):
        size = np.bincount(history_tastes(world, end, HISTORY) + 1, minlength=world.config.tastes + 1)[1:]
        mine = world.user_follow[world.user_follow_offset[user] : world.user_follow_offset[user + 1]]
        own = np.isin(mine, world.niche_topic[world.user_taste_UK[user]])
        full = end - prepared.event_offset[user] >= HISTORY
        if full and min(size) >= least and max(size) >= 2 * min(size) and own.sum() >= 2 and not own.all():
            return int(user)
    raise LookupError("no user of this world is as the pictures want one")


def history_tastes(world: PlantedWorld, end: int, length: int) -> NDArray[np.int64]:
    """Return the taste behind each of the last events before ``end``, the most recent first."""
    return np.asarray(world.event_taste[max(0, end - length) : end][::-1])


def assign_vectors(mine: UserVectors, topic_LG: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the vector that each event of one user belongs to.

    That is the implicit interest that took it; without implicit interests, the topic that its item has; with neither,
    the one vector that reads the whole history.
    """
    if "implicit" in mine.kinds:
        return np.asarray(mine.assignment_BL[0])
    if "explicit" in mine.kinds:
        has_LK = (topic_LG[:, :, None] == mine.topic_BK[0]).any(axis=1) & (mine.topic_BK[0] > 0)
        return np.where(has_LK.any(axis=1), has_LK.argmax(axis=1), NOISE)
    return np.zeros(len(topic_LG), dtype=np.int64)


def _agreement(world: PlantedWorld, vectors: UserVectors, held: HeldOut, row: int) -> float:
    end, begin = int(held.end_B[row]), int(np.searchsorted(world.event_user, held.user_B[row]))
    taste_L = history_tastes(world, end, min(HISTORY, end - begin))
    column_L = vectors.assignment_BL[row, : len(taste_L)]
    known_L = (taste_L != NOISE) & (column_L >= 0)
    return adjusted_rand_index(column_L[known_L], taste_L[known_L])
