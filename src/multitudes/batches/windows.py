"""Windows of training targets, shuffled into the batches of an epoch. Their events are gathered later, batch by batch.

The targets among a hundred million events take 8 bytes each as an array of positions, 1.5 bits each as a ``Bitset``.

Legend: B windows of a batch · T targets · U users · R words of a bitset.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.data.arrays import expand_ranges, user_chunks
from multitudes.data.prepared import TRAIN, VALIDATION, PreparedData
from multitudes.seeding import generator, stream_seed

_WORD = 64  # bits
_BYTES = _WORD // 8


class Bitset:
    """A compressed set of integers in ``range(size)``, in ascending order: a bit for each number, in words of 64.

    For each word it has the number of members before it (rank and select; Jacobson 1989).
    """

    def __init__(self, chunks: Iterable[NDArray[np.bool_]]) -> None:
        """Build the set from ``chunks``: for each number from 0 on, whether it is a member; any length."""
        packed, counts = [], []
        rest, self.size = np.zeros(0, dtype=np.bool_), 0
        for chunk in chunks:
            self.size += len(chunk)
            rest = np.concatenate([rest, chunk])
            full = len(rest) // _WORD * _WORD
            bits_R8 = np.packbits(rest[:full]).reshape(-1, _BYTES)
            packed.append(bits_R8)
            counts.append(np.bitwise_count(bits_R8).sum(axis=1, dtype=np.uint8))
            rest = rest[full:].copy()
        # The last word ends with zero bits, so that no index is out of bounds.
        last_R8 = np.packbits(np.pad(rest, (0, _WORD - len(rest)))).reshape(1, _BYTES)
        self._bits_R8 = np.concatenate([*packed, last_R8])
        counts.append(np.bitwise_count(last_R8).sum(axis=1, dtype=np.uint8))
        count_R = np.concatenate(counts)
        self._length = int(count_R.sum(dtype=np.int64))
        small = np.uint32 if self._length <= np.iinfo(np.uint32).max else np.uint64
        before_R = np.cumsum(count_R, dtype=small)
        self._before_R: NDArray[np.unsignedinteger] = np.subtract(before_R, count_R, out=before_R)

    def __len__(self) -> int:
        """Return the number of members."""
        return self._length

    def select(self, index: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the members of the given ranks, counted from 0, in the shape of ``index``."""
        rank = np.asarray(index).astype(self._before_R.dtype)
        word = np.searchsorted(self._before_R, rank, side="right") - 1
        earlier = (rank - self._before_R[word]).astype(np.uint8)  # members of the same word before it
        passed = np.cumsum(np.unpackbits(self._bits_R8[word], axis=-1), axis=-1, dtype=np.uint8) <= earlier[..., None]
        return np.asarray(word * _WORD + passed.sum(axis=-1), dtype=np.int64)

    def between(self, low: int, high: int) -> NDArray[np.int64]:
        """Return the members from ``low`` to below ``high``."""
        first = low // _WORD
        bits = np.unpackbits(self._bits_R8[first : high // _WORD + 1])
        return np.flatnonzero(bits[low - first * _WORD : high - first * _WORD]) + low

    def to_array(self) -> NDArray[np.int64]:
        """Return all members."""
        return self.between(0, self.size)


BUCKET_BATCHES = 16  # batches whose windows are sorted by length together


class WindowBatch(NamedTuple):
    """The windows of a batch: the first target of each, and one past its last. Their events are not gathered yet."""

    start_B: NDArray[np.int64]
    stop_B: NDArray[np.int64]
    seed: int  # of the random draws for its rows


class EpochBatches:
    """The batches of an epoch, each computed when it is reached."""

    def __init__(self, starts: Bitset, batches: list[NDArray[np.integer]], seed: int, epoch: int) -> None:
        """Take the first target of every window, and the windows of each batch by number."""
        self._starts, self._batches, self._stream = starts, batches, (seed, "conditions", epoch)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._batches)

    def __iter__(self) -> Iterator[WindowBatch]:
        """Yield the batches; a window ends where the next begins."""
        for number, window_B in enumerate(self._batches):
            last_B = window_B == len(self._starts) - 1
            next_B = self._starts.select(np.where(last_B, window_B, window_B + 1))
            stop_B = np.where(last_B, self._starts.size, next_B)
            yield WindowBatch(self._starts.select(window_B), stop_B, stream_seed(*self._stream, number))


class WindowSampler:
    """Tiles each user's targets with windows of at most ``window`` targets that span at most ``history`` events."""

    def __init__(self, prepared: PreparedData, position: Bitset, *, window: int, history: int) -> None:
        self.prepared, self.position, self.window, self.history = prepared, position, window, history

    def newest_before(self, position_T: NDArray[np.int64], user_T: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the flat position of the newest event of its user strictly before each target, at flat ``position_T``.

        Where a user has no earlier event, the position is one before the user's first event.
        """
        return np.asarray(self.prepared.event_offset[user_T] + self.prepared.event_past[position_T] - 1)

    def epoch_batches(self, batch_size: int, seed: int, epoch: int, max_batches: int | None = None) -> EpochBatches:
        """Return the batches of one epoch; ``Examples.batch`` gathers their events.

        ``max_batches`` ends the epoch early; the next epoch is shuffled again.
        """
        random = generator(seed, "examples", epoch)
        starts = self.tile(random)
        return EpochBatches(starts, self._bucket_by_length(starts, batch_size, random, max_batches), seed, epoch)

    def tile(self, random: np.random.Generator) -> Bitset:
        """Tile each user's positives with windows, from a random phase on; return the first target of each window."""
        phase_U = random.integers(0, self.window, size=self.prepared.n_users)
        return Bitset(self._window_starts(users, phase_U[users]) for users in user_chunks(self.prepared.event_offset))

    def _window_starts(self, users: slice, phase_U: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each target of some users whether a window begins with it."""
        offset_U = self.prepared.event_offset[users.start : users.stop + 1]
        position_T = self.position.between(int(offset_U[0]), int(offset_U[-1]))
        begin_U = np.searchsorted(position_T, offset_U)
        user_T, rank_T = expand_ranges(np.zeros(len(phase_U), dtype=np.int64), np.diff(begin_U))
        tile_T = (rank_T + phase_U[user_T]) // self.window
        is_start_T = (np.diff(user_T, prepend=-1) != 0) | (np.diff(tile_T, prepend=-1) != 0)
        # W first engagements can span thousands of events, with repeats between them: a window spans at most L events.
        first_T = np.flatnonzero(is_start_T)[np.cumsum(is_start_T) - 1]
        past_T = self.prepared.event_past[position_T]
        is_start_T |= np.diff((past_T - past_T[first_T]) // self.history, prepend=0) > 0
        return np.asarray(is_start_T)

    def _bucket_by_length(
        self, starts: Bitset, batch_size: int, random: np.random.Generator, max_batches: int | None
    ) -> list[NDArray[np.integer]]:
        """Shuffle the windows into batches; within a bucket of batches, histories of similar length share a batch.

        A batch is as wide as its longest history, so mixed lengths would spend most of a step on padding.
        """
        order: NDArray[np.integer] = np.arange(
            len(starts), dtype=np.int32 if len(starts) <= np.iinfo(np.int32).max else np.int64
        )
        random.shuffle(order)  # draws the same as `permutation`, which needs 8 bytes per window
        bucket, batches = batch_size * BUCKET_BATCHES, -(-len(order) // batch_size)
        chosen = random.permutation(batches)[:max_batches]
        for first in np.unique(chosen // BUCKET_BATCHES * bucket).tolist():  # only buckets with a batch in this epoch
            windows = order[first : first + bucket]
            past = self.prepared.event_past[self.position.select(starts.select(windows))]
            windows[:] = windows[np.argsort(np.minimum(past, self.history), kind="stable")]
        bucketed = [order[batch * batch_size : (batch + 1) * batch_size] for batch in chosen.tolist()]
        # Copies, so that the full order can be freed.
        return bucketed if max_batches is None else [windows.copy() for windows in bucketed]


def eligible_targets(prepared: PreparedData, *, include_validation: bool = False, since: int = 0) -> Bitset:
    """Return the flat positions of the training targets; with ``since``, only those later than it.

    A target is the user's first engagement with a known item. It needs a positive weight, and prior knowledge of the
    user: an earlier event, or followed topics that are known by then (explicit interests exist for new users).
    """
    last = VALIDATION if include_validation else TRAIN

    def is_target(users: slice) -> NDArray[np.bool_]:
        offset_U = prepared.event_offset[users.start : users.stop + 1]
        events = slice(int(offset_U[0]), int(offset_U[-1]))
        is_target_E = (
            (prepared.event_split[events] <= last)
            & (prepared.event_weight[events] > 0)
            & (prepared.event_item[events] > 0)
            & prepared.event_first[events]
        )
        if since:
            is_target_E &= prepared.event_time[events] > since
        follows_U = np.diff(prepared.follow_offset[users.start : users.stop + 1]) > 0
        known_E = np.repeat(follows_U, np.diff(offset_U)) & prepared.event_after_follows[events]
        return np.asarray(is_target_E & ((prepared.event_past[events] > 0) | known_E))

    return Bitset(is_target(users) for users in user_chunks(prepared.event_offset))
