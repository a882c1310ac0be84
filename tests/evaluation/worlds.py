"""Small prepared data sets, written out event by event, and a run whose vectors are known."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl

from multitudes.batches.user_vectors import InterestKind, UserVectors
from multitudes.data.prepared import TEST, TRAIN, PreparedData
from multitudes.nn.methods import Partition
from multitudes.run_record import ListDefaults


def prepared(folder, past, future, topics, follows=(), times=None, split="user", ordered_only=False):
    """Return a data set of users with these past (train) and future (test) items, oldest first.

    Args:
        folder: where the tables of names are written.
        past: item numbers of each user.
        future: item numbers of each user.
        topics: topic numbers of each item, from item 1 on.
        follows: topic numbers of each user.
        times: seconds of each event of each user, past then future; by default 0, 1, 2 …
        split: what the manifest says.
        ordered_only: what the manifest says.
    """
    item = [np.array([*old, *new], dtype=np.int32) for old, new in zip(past, future, strict=True)]
    code = [np.repeat([TRAIN, TEST], [len(old), len(new)]) for old, new in zip(past, future, strict=True)]
    count = np.bincount(np.concatenate([[], *past]).astype(int), minlength=len(topics) + 1)
    follows = follows or [[]] * len(past)
    n_events = sum(map(len, item))
    first = [i not in row[:n] for row in item for n, i in enumerate(row)]
    n_topics = max([0, *(t for row in topics for t in row)])
    pl.DataFrame({"user_id": np.arange(len(past)) + 100}).write_parquet(folder / "users.parquet")
    pl.DataFrame(
        {"item_id": np.arange(len(topics)) + 1000, "title": [f"item {i}" for i in range(1, len(topics) + 1)]}
    ).write_parquet(folder / "items.parquet")
    pl.DataFrame({"topic": [f"topic {t}" for t in range(1, n_topics + 1)]}).write_parquet(folder / "topics.parquet")
    return PreparedData(
        path=folder,
        manifest={
            "counts": {"topics": n_topics},
            "actions": ["view"],
            "ordered_only": ordered_only,
            "recent_s": 1,
            "config": {"split": split},
        },
        event_offset=ends(item),
        event_item=np.concatenate(item),
        event_time=np.concatenate(times or [np.arange(len(row)) for row in item]).astype(np.int64),
        event_action=np.ones(n_events, dtype=np.uint8),
        event_weight=np.ones(n_events, dtype=np.float32),
        event_valid=np.ones(n_events, dtype=np.bool_),
        event_split=np.concatenate(code).astype(np.uint8),
        event_past=np.concatenate([np.arange(len(row)) for row in item]).astype(np.int32),
        event_first=np.array(first, dtype=np.bool_),
        event_source=np.zeros(n_events, dtype=np.int32),
        event_after_follows=np.ones(n_events, dtype=np.bool_),
        follow_offset=ends(follows),
        follow_topic=np.concatenate([[], *follows]).astype(np.int32),
        item_topic_offset=np.concatenate([[0], ends(topics)]),
        item_topic=np.concatenate([[], *topics]).astype(np.int32),
        item_count=count,
        item_recent_count=np.concatenate([[0], count[:0:-1]]),  # recent popularity is the other way round
        item_feature=np.zeros((len(topics) + 1, 0), dtype=np.float32),
        user_feature=np.zeros((len(past), 0), dtype=np.float32),
        item_embedding=None,
    )


def ends(rows):
    return np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)


@dataclass
class FakeRun:
    """A run whose vectors are known: item i is unit vector i; a user's k-th vector is that of item ``wanted[u][k]``.

    Wanted item 0 is no vector. The control of a random partition wants the items of ``wanted_at_random``. Of the
    history, odd items belong to the first interest and even ones to the second.
    """

    path: Path
    prepared: PreparedData
    wanted: list[list[int]]
    wanted_at_random: list[list[int]] | None = None
    kinds: tuple[InterestKind, ...] = ("implicit", "implicit")
    weights: tuple[float, ...] = (0.5, 0.5)
    controls: tuple[Partition, ...] = ("random",)
    neighbours: None = None
    list_defaults: ListDefaults = field(default_factory=lambda: ListDefaults({}, calibration=0.0))
    config: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(method="clustering", seed=0, model=SimpleNamespace(history=10))
    )

    def item_vectors(self):
        vectors = 20 * np.eye(self.prepared.n_items + 1, dtype=np.float32)
        vectors[0] = 0
        return vectors

    def user_vectors(self, users, partition="interests"):
        histories = users.histories
        wanted = self.wanted if partition == "interests" else self.wanted_at_random or self.wanted
        # Histories do not name their user: in these worlds the first follow is the user's number + 1.
        item_BK = np.array([wanted[user - 1] for user in histories.follow_BF[:, 0]])
        mask_BK = item_BK > 0
        return UserVectors(
            kinds=self.kinds,
            vectors_BKD=self.item_vectors()[item_BK] / 20,
            weight_BK=(mask_BK * self.weights).astype(np.float32),
            mask_BK=mask_BK,
            topic_BK=np.zeros(item_BK.shape, dtype=np.int64),
            assignment_BL=np.where(histories.item_BL > 0, (histories.item_BL + 1) % 2, -1),
        )
