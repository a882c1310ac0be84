"""The targets of an epoch, tiled by windows, and the windows dealt into batches; nothing of them is gathered yet.

Legend: B windows of a batch · T targets · U users.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.data.prepared import TRAIN, VALIDATION, Prepared
from multitudes.data.ragged import ragged
from multitudes.seeding import generator, stream_seed

AT_ONCE = 500_000  # targets of the users whose windows are laid at once
STRETCH = 16  # batches among which histories are sorted by length


class Dealt(NamedTuple):
    """The windows of a batch, not yet gathered: the first and the past-the-last target of each."""

    start_B: NDArray[np.int64]
    stop_B: NDArray[np.int64]
    draws: int  # seed of what is drawn for its rows


class Epoch:
    """The batches of an epoch, each made when its turn comes."""

    def __init__(
        self, start: NDArray[np.int64], stop: NDArray[np.int64], batches: list[NDArray[np.int64]], draws: list[int]
    ) -> None:
        self._start, self._stop, self._batches, self._draws = start, stop, batches, draws

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Dealt]:
        """Yield the batches."""
        for chosen, draws in zip(self._batches, self._draws, strict=True):
            yield Dealt(self._start[chosen], self._stop[chosen], draws)


class Windows:
    """The targets at some positions, tiled by windows of ``window`` targets at most, whose events a history holds."""

    def __init__(self, prepared: Prepared, position: NDArray[np.int64], *, window: int, history: int) -> None:
        self.prepared, self.position, self.window, self.history = prepared, position, window, history

    def user(self, index_T: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return whose each target is."""
        return np.searchsorted(self.prepared.event_offset, self.position[index_T], side="right") - 1

    def moment(self, index_T: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the newest event lies that is strictly before each target; before a user's first event: none."""
        past_T = self.prepared.event_past[self.position[index_T]]
        return np.asarray(self.prepared.event_offset[self.user(index_T)] + past_T - 1)

    def deal(self, batch_size: int, seed: int, epoch: int, most: int | None = None) -> Epoch:
        """Return the windows of the batches of one epoch, for ``Examples.batch`` to gather.

        ``most`` ends an epoch early (the next one is dealt anew).
        """
        random = generator(seed, "examples", epoch)
        start, stop = self.lay(random)
        batches = self._batches_of_like_length(start, batch_size, random)[:most]
        return Epoch(start, stop, batches, [stream_seed(seed, "conditions", epoch, i) for i in range(len(batches))])

    def lay(self, random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tile each user's positives; return the first and past-the-last index of every window."""
        phase_U = random.integers(0, self.window, size=self.prepared.n_users)
        begin_U = np.searchsorted(self.position, self.prepared.event_offset)
        starts = []
        first, last = 0, len(begin_U) - 1
        while first < last:  # all at once, a hundred million targets would need gigabytes of whole numbers
            stop = int(np.searchsorted(begin_U, begin_U[first] + AT_ONCE, side="right")) - 1
            stop = min(max(stop, first + 1), last)
            starts.append(self._laid(begin_U[first : stop + 1], phase_U[first:stop]))
            first = stop
        start = np.concatenate(starts)
        return start, np.append(start[1:], len(self.position))

    def _laid(self, begin_U: NDArray[np.int64], phase_U: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the first index of each window of some users, of whom ``begin_U`` says where their targets begin."""
        index = np.arange(begin_U[0], begin_U[-1])
        user, rank = ragged(np.zeros(len(phase_U), dtype=np.int64), np.diff(begin_U))
        tile = (rank + phase_U[user]) // self.window
        new = (np.diff(user, prepend=-1) != 0) | (np.diff(tile, prepend=-1) != 0)
        # Where repeats lie between, W first engagements can span thousands of events: no window is longer than L.
        first = np.flatnonzero(new)[np.cumsum(new) - 1]
        moment = self.moment(index)
        new |= np.diff((moment - moment[first]) // self.history, prepend=0) > 0
        return np.asarray(index[new])

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


def eligible(
    prepared: Prepared, *, first_time_only: bool, validation_too: bool = False, since: int = 0
) -> NDArray[np.int64]:
    """Return the flat positions of the training targets, all of them later than ``since`` where that is not 0.

    A target needs a known item, a positive weight, and something known of the user before it: an earlier event, or
    follows that are known by then (new users are what explicit interests are for).
    """
    known = prepared.event_split <= (VALIDATION if validation_too else TRAIN)
    wanted = known & (prepared.event_weight > 0) & (prepared.event_item > 0)
    if first_time_only:
        wanted &= prepared.event_first
    if since:
        wanted &= prepared.event_time > since
    has_follows = np.repeat(np.diff(prepared.follow_offset) > 0, np.diff(prepared.event_offset))
    wanted &= (prepared.event_past > 0) | (has_follows & prepared.event_after_follows)
    return np.flatnonzero(wanted)
