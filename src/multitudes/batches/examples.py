"""Training examples: a history cut and the positives that follow it (dense all-action targets, method §7 PFS).

A user's positives are tiled by windows of W events with a new phase each epoch; each window is one example whose
history ends strictly before its first event. So every positive is a target once an epoch, each history is encoded once
per W targets, nothing is ever seen before its time, and nothing is expanded in memory.

Legend: B examples · W targets per example · C of them with a condition · G topics per item.
"""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.histories import Histories, follows, gather, ragged_rows
from multitudes.data.prepared import TRAIN, Prepared
from multitudes.errors import DataError
from multitudes.seeding import generator

ConditionSource = Literal["auto", "source", "item", "match"]
STRETCH = 16  # batches among which histories are sorted by length
MAX_CONDITIONS = 4  # C, targets of a window that train an explicit interest; the phase gives every target its turn
MAX_ITEM_TOPICS = 16  # topics of an item that count as conditions and features; more are cut in the order of the table


class Batch(NamedTuple):
    """B examples."""

    histories: Histories
    target_BW: NDArray[np.int64]  # 0 = none
    weight_BW: NDArray[np.float32]  # 0 where there is no target
    condition_BC: NDArray[np.int64]  # the topics that explain the first C targets, 0 = none


class Examples:
    """The training examples of a prepared data set."""

    def __init__(
        self,
        prepared: Prepared,
        *,
        history: int,
        window: int,
        first_time_only: bool,
        condition: ConditionSource,
        forget_share: float = 0.0,
    ) -> None:
        self.prepared = prepared
        self.history = history
        self.forget_share = forget_share
        self.window = window
        self.condition = resolve_condition(prepared, condition)
        self.position = eligible(prepared, first_time_only=first_time_only)
        if len(self.position) == 0:
            raise DataError(
                f"{prepared.path}: no training example (a positive after an earlier event); check the split"
            )
        self.user = np.searchsorted(prepared.event_offset, self.position, side="right") - 1

    def __len__(self) -> int:
        """Return the number of targets in one epoch."""
        return len(self.position)

    def epoch(self, batch_size: int, seed: int, epoch: int, skip: int = 0, most: int | None = None) -> Iterator[Batch]:
        """Yield the batches of one epoch, a function of (seed, epoch) alone.

        ``skip`` leaves out the first ones, ``most`` ends an epoch early (the next one is dealt anew).
        """
        random = generator(seed, "examples", epoch)
        start, stop = self._windows(random)
        chunks = self._batches_of_like_length(start, batch_size, random)
        for i, chosen in enumerate(chunks[skip:most], start=skip):
            yield self._batch(start[chosen], stop[chosen], generator(seed, "conditions", epoch, i))

    def batches_per_epoch(self, batch_size: int, seed: int, epoch: int, most: int | None = None) -> int:
        """Return how many batches ``epoch`` yields; the phase changes it a little from epoch to epoch."""
        start, _ = self._windows(generator(seed, "examples", epoch))
        batches = math.ceil(len(start) / batch_size)
        return batches if most is None else min(batches, most)

    def _batches_of_like_length(
        self, start: NDArray[np.int64], batch_size: int, random: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Deal the windows into batches; within a shuffled stretch, histories of like length share a batch.

        A batch is as wide as its longest history, so mixed lengths would spend most of a step on padding.
        """
        order = random.permutation(len(start))
        length = np.minimum(self.prepared.event_past[self.position[start]], self.history)
        stretch = batch_size * STRETCH
        batches: list[NDArray[np.int64]] = []
        for first in range(0, len(order), stretch):
            part = order[first : first + stretch]
            part = part[np.argsort(length[part], kind="stable")]
            batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
        return [batches[i] for i in random.permutation(len(batches))]

    def _windows(self, random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tile each user's positives; return the first and past-the-last index of every window."""
        begins = np.flatnonzero(np.diff(self.user, prepend=-1))
        rank = np.arange(len(self.user)) - np.repeat(begins, np.diff(np.append(begins, len(self.user))))
        phase = random.integers(0, self.window, size=self.prepared.n_users)
        tile = (rank + phase[self.user]) // self.window
        start = np.flatnonzero((np.diff(self.user, prepend=-1) != 0) | (np.diff(tile, prepend=-1) != 0))
        return start, np.append(start[1:], len(self.user))

    def _batch(self, start_B: NDArray[np.int64], stop_B: NDArray[np.int64], random: np.random.Generator) -> Batch:
        prepared = self.prepared
        user_B = self.user[start_B]
        first_B = self.position[start_B]
        end_B = prepared.event_offset[user_B] + prepared.event_past[first_B]
        index_BW = start_B[:, None] + np.arange(self.window)[None, :]
        real_BW = index_BW < stop_B[:, None]
        position_BW = self.position[np.where(real_BW, index_BW, 0)]
        target_BW = np.where(real_BW, prepared.event_item[position_BW], 0).astype(np.int64)
        weight_BW = np.where(real_BW, prepared.event_weight[position_BW], 0).astype(np.float32)
        first = slice(0, MAX_CONDITIONS)
        condition_BC = self._conditions(user_B, position_BW[:, first], target_BW[:, first], random)
        longest = max(1, min(self.history, int((end_B - prepared.event_offset[user_B]).max())))
        histories = gather(prepared, user_B, end_B, longest)
        # Follows are no feature of what came before they were known: derived ones were made of those very targets.
        known_B1 = prepared.event_after_follows[first_B][:, None]
        histories = histories._replace(follow_BF=np.where(known_B1, histories.follow_BF, 0))
        histories = self._forget(histories, random)
        return Batch(histories, target_BW, weight_BW, condition_BC)

    def _forget(self, histories: Histories, random: np.random.Generator) -> Histories:
        """Hide the whole history of some users, so that the tower learns what to say to a new one."""
        forgotten_B1 = random.random((len(histories.item_BL), 1)) < self.forget_share
        return histories._replace(valid_BL=histories.valid_BL & ~forgotten_B1)

    def _conditions(
        self,
        user_B: NDArray[np.int64],
        position_BC: NDArray[np.int64],
        target_BC: NDArray[np.int64],
        random: np.random.Generator,
    ) -> NDArray[np.int64]:
        allowed_BC = (target_BC > 0) & self.prepared.event_after_follows[position_BC]
        if self.condition == "source":
            return np.where(allowed_BC, self.prepared.event_source[position_BC], 0).astype(np.int64)
        topic_MG = item_topics(self.prepared, target_BC.ravel())
        fits_MG = topic_MG > 0
        if self.condition == "match":
            follow_BF = follows(self.prepared, user_B)
            follow_MF = np.repeat(follow_BF, target_BC.shape[1], axis=0)
            fits_MG &= (topic_MG[:, :, None] == follow_MF[:, None, :]).any(axis=2)
        drawn = draw_one(topic_MG, fits_MG, random).reshape(target_BC.shape)
        return np.where(allowed_BC, drawn, 0)


def resolve_condition(prepared: Prepared, condition: ConditionSource) -> ConditionSource:
    """Return the rule to use: "auto" takes the logged source interest, or else the match of item and follows."""
    if condition != "auto":
        return condition
    return "source" if bool((prepared.event_source > 0).any()) else "match"


def eligible(prepared: Prepared, *, first_time_only: bool) -> NDArray[np.int64]:
    """Return the flat positions of the training targets.

    A target needs a known item, a positive weight, and something known of the user before it: an earlier event, or
    follows that are known by then (new users are what explicit interests are for).
    """
    wanted = (prepared.event_split == TRAIN) & (prepared.event_weight > 0) & (prepared.event_item > 0)
    if first_time_only:
        wanted &= prepared.event_first
    has_follows = np.repeat(np.diff(prepared.follow_offset) > 0, np.diff(prepared.event_offset))
    wanted &= (prepared.event_past > 0) | (has_follows & prepared.event_after_follows)
    return np.flatnonzero(wanted)


def item_topics(prepared: Prepared, item_M: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the topics of each item (M, G), zero-padded; G is as wide as the widest item, at most MAX_ITEM_TOPICS."""
    widest = int(np.diff(prepared.item_topic_offset).max(initial=1))
    return ragged_rows(prepared.item_topic_offset, prepared.item_topic, item_M, min(max(widest, 1), MAX_ITEM_TOPICS))


def draw_one(value_MG: NDArray[np.int64], fits_MG: NDArray[np.bool_], random: np.random.Generator) -> NDArray[np.int64]:
    """Draw one fitting entry of each row, evenly; 0 where none fits."""
    noise_MG = np.where(fits_MG, random.random(value_MG.shape), -1.0)
    pick_M1 = noise_MG.argmax(axis=1)[:, None]
    picked_M = np.take_along_axis(value_MG, pick_M1, axis=1)[:, 0]
    return np.where(fits_MG.any(axis=1), picked_M, 0)
