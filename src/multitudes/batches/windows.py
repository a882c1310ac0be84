"""The targets of an epoch, tiled by windows, and the windows dealt into batches; nothing of them is gathered yet.

Legend: B windows of a batch · T targets · U users.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.marked import Marked
from multitudes.data.prepared import TRAIN, VALIDATION, Prepared
from multitudes.data.ragged import ragged
from multitudes.seeding import generator, stream_seed

AT_ONCE = 200_000  # events that are looked through at once
STRETCH = 16  # batches among which histories are sorted by length


class Dealt(NamedTuple):
    """The windows of a batch, not yet gathered: the first and the past-the-last target of each."""

    start_B: NDArray[np.int64]
    stop_B: NDArray[np.int64]
    draws: int  # seed of what is drawn for its rows


class Laid:
    """All windows of an epoch, by the targets with which they begin: each ends where the next one does."""

    def __init__(self, starts: Marked) -> None:
        self._starts = starts

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._starts)

    def start(self, window_B: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the first target of some windows, by number."""
        return self._starts.at(window_B)

    def bounds(self, window_B: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first and the past-the-last target of some windows, by number."""
        last_B = window_B == len(self) - 1
        next_B = self._starts.at(np.where(last_B, window_B, window_B + 1))
        return self.start(window_B), np.where(last_B, self._starts.size, next_B)


class Epoch:
    """The batches of an epoch, each made when its turn comes."""

    def __init__(self, laid: Laid, batches: list[NDArray[np.integer]], seed: int, epoch: int) -> None:
        self._laid, self._batches, self._stream = laid, batches, (seed, "conditions", epoch)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Dealt]:
        """Yield the batches."""
        for number, windows in enumerate(self._batches):
            yield Dealt(*self._laid.bounds(windows), stream_seed(*self._stream, number))


class Windows:
    """The targets at some positions, tiled by windows of ``window`` targets at most, whose events a history holds."""

    def __init__(self, prepared: Prepared, position: Marked, *, window: int, history: int) -> None:
        self.prepared, self.position, self.window, self.history = prepared, position, window, history

    def newest(self, position_T: NDArray[np.int64], user_T: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the newest event lies that is strictly before each target; before a user's first event: none.

        Args:
            position_T: where the targets lie.
            user_T: whose they are.
        """
        return np.asarray(self.prepared.event_offset[user_T] + self.prepared.event_past[position_T] - 1)

    def deal(self, batch_size: int, seed: int, epoch: int, most: int | None = None) -> Epoch:
        """Return the windows of the batches of one epoch, for ``Examples.batch`` to gather.

        ``most`` ends an epoch early (the next one is dealt anew).
        """
        random = generator(seed, "examples", epoch)
        laid = self.lay(random)
        return Epoch(laid, self._batches_of_like_length(laid, batch_size, random, most), seed, epoch)

    def lay(self, random: np.random.Generator) -> Laid:
        """Tile each user's positives."""
        phase_U = random.integers(0, self.window, size=self.prepared.n_users)
        return Laid(Marked(self._laid(users, phase_U[users]) for users in some_users(self.prepared)))

    def _laid(self, users: slice, phase_U: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each target of some users whether a window begins with it."""
        offset_U = self.prepared.event_offset[users.start : users.stop + 1]
        position_T = self.position.between(int(offset_U[0]), int(offset_U[-1]))
        begin_U = np.searchsorted(position_T, offset_U)
        user_T, rank_T = ragged(np.zeros(len(phase_U), dtype=np.int64), np.diff(begin_U))
        tile_T = (rank_T + phase_U[user_T]) // self.window
        new_T = (np.diff(user_T, prepend=-1) != 0) | (np.diff(tile_T, prepend=-1) != 0)
        # Where repeats lie between, W first engagements can span thousands of events: no window is longer than L.
        first_T = np.flatnonzero(new_T)[np.cumsum(new_T) - 1]
        past_T = self.prepared.event_past[position_T]
        new_T |= np.diff((past_T - past_T[first_T]) // self.history, prepend=0) > 0
        return np.asarray(new_T)

    def _batches_of_like_length(
        self, laid: Laid, batch_size: int, random: np.random.Generator, most: int | None
    ) -> list[NDArray[np.integer]]:
        """Deal the windows into batches; within a shuffled stretch, histories of like length share a batch.

        A batch is as wide as its longest history, so mixed lengths would spend most of a step on padding.
        """
        order: NDArray[np.integer] = np.arange(
            len(laid), dtype=np.int32 if len(laid) <= np.iinfo(np.int32).max else np.int64
        )
        random.shuffle(order)  # draws what `permutation` draws, which would need 8 bytes each
        stretch, batches = batch_size * STRETCH, -(-len(order) // batch_size)
        turns = random.permutation(batches)[:most]
        for first in np.unique(turns // STRETCH * stretch).tolist():  # the rest of them has no turn
            part = order[first : first + stretch]
            past = self.prepared.event_past[self.position.at(laid.start(part))]
            part[:] = part[np.argsort(np.minimum(past, self.history), kind="stable")]
        dealt = [order[batch * batch_size : (batch + 1) * batch_size] for batch in turns.tolist()]
        return dealt if most is None else [windows.copy() for windows in dealt]  # lets go of the rest


def some_users(prepared: Prepared) -> Iterator[slice]:
    """Yield all users in slices that have some ``AT_ONCE`` events: all at once would need gigabytes."""
    offset_U, first, last = prepared.event_offset, 0, prepared.n_users
    while first < last:
        stop = int(np.searchsorted(offset_U, offset_U[first] + AT_ONCE, side="right")) - 1
        stop = min(max(stop, first + 1), last)
        yield slice(first, stop)
        first = stop


def eligible(prepared: Prepared, *, first_time_only: bool, validation_too: bool = False, since: int = 0) -> Marked:
    """Return the flat positions of the training targets, all of them later than ``since`` where that is not 0.

    A target needs a known item, a positive weight, and something known of the user before it: an earlier event, or
    follows that are known by then (new users are what explicit interests are for).
    """
    last = VALIDATION if validation_too else TRAIN

    def wanted(users: slice) -> NDArray[np.bool_]:
        offset_U = prepared.event_offset[users.start : users.stop + 1]
        of = slice(int(offset_U[0]), int(offset_U[-1]))
        wanted_E = (prepared.event_split[of] <= last) & (prepared.event_weight[of] > 0) & (prepared.event_item[of] > 0)
        if first_time_only:
            wanted_E &= prepared.event_first[of]
        if since:
            wanted_E &= prepared.event_time[of] > since
        follows_U = np.diff(prepared.follow_offset[users.start : users.stop + 1]) > 0
        known_E = np.repeat(follows_U, np.diff(offset_U)) & prepared.event_after_follows[of]
        return np.asarray(wanted_E & ((prepared.event_past[of] > 0) | known_E))

    return Marked(wanted(users) for users in some_users(prepared))
