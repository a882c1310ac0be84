"""The users of a held-out split: the history of each user up to the cut, and the targets after it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.histories import Histories, gather_histories
from multitudes.data.arrays import distinct, expand_ranges
from multitudes.data.prepared import SPLIT_CODE, PreparedData, Split
from multitudes.metrics.ranking import target_rows

_USERS_PER_CHUNK = 10_000  # users whose histories are searched at once
_EVENTS_PER_CHUNK = 1_000_000


@dataclass(frozen=True)
class HeldOut:
    """B users with at least one target in a split. Targets are distinct item numbers, ragged by user."""

    user_B: NDArray[np.int64]
    end_B: NDArray[np.int64]  # flat position where the history ends (exclusive)
    target_offset: NDArray[np.int64]  # B + 1
    target: NDArray[np.int64]  # item numbers
    target_is_first_time: NDArray[np.bool_]  # the item is not in the user's history

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.user_B)


def held_out_users(prepared: PreparedData, split: Split) -> HeldOut:
    """Return the users of ``split`` with their targets.

    A target is a known item with a positive weight, later than the time at which the user's followed topics are known.
    The history of a user is everything before the first event of the split in the stable order; for the test split
    that includes validation. Targets outside the vocabulary are counted in the manifest and not returned.
    """
    code, splits = SPLIT_CODE[split], prepared.event_split
    starts = range(0, len(splits), _EVENTS_PER_CHUNK)
    found = [np.flatnonzero(splits[start : start + _EVENTS_PER_CHUNK] == code) + start for start in starts]
    in_split = np.concatenate([np.zeros(0, dtype=np.int64), *found])
    position = in_split[_is_target(prepared, in_split)]
    user_P = prepared.users_of(position)
    items = prepared.n_items + 1
    pair_M = distinct(user_P * items + prepared.event_item[position])
    user_B, start = np.unique(pair_M // items, return_index=True)
    end_B = in_split[np.searchsorted(in_split, prepared.event_offset[user_B])]
    offset, target = np.append(start, len(pair_M)).astype(np.int64), pair_M % items
    return HeldOut(user_B, end_B, offset, target, _is_first_time(prepared, target, offset, user_B, end_B))


def select_users(held: HeldOut, row: NDArray[np.int64]) -> HeldOut:
    """Return the users in ``row``, in ascending order of rows, with all their targets."""
    selected = np.zeros(len(held), dtype=np.bool_)
    selected[row] = True
    return select_targets(held, selected[target_rows(held.target_offset)])


def chunk_users(held: HeldOut, size: int) -> Iterator[HeldOut]:
    """Yield at most ``size`` users at a time, in their order, with all their targets."""
    for start in range(0, len(held), size):
        yield select_users(held, np.arange(start, min(start + size, len(held))))


def select_targets(held: HeldOut, keep_T: NDArray[np.bool_]) -> HeldOut:
    """Return the held-out users with only the targets in ``keep_T``; users without any target left are dropped."""
    kept_B = np.bincount(target_rows(held.target_offset), keep_T, len(held)).astype(np.int64)
    has_targets_B = kept_B > 0
    return HeldOut(
        user_B=held.user_B[has_targets_B],
        end_B=held.end_B[has_targets_B],
        target_offset=np.concatenate([[0], np.cumsum(kept_B[has_targets_B])]).astype(np.int64),
        target=held.target[keep_T],
        target_is_first_time=held.target_is_first_time[keep_T],
    )


def seen_items(prepared: PreparedData, held: HeldOut) -> list[NDArray[np.int64]]:
    """Return the distinct known items of each user's entire history, newest event first."""
    found = []
    for user, end in zip(held.user_B, held.end_B, strict=True):
        newest_first = prepared.event_item[prepared.event_offset[user] : end][::-1]
        number, first = np.unique(newest_first, return_index=True)
        found.append(newest_first[np.sort(first[number > 0])].astype(np.int64))
    return found


def first_positions(prepared: PreparedData, held: HeldOut, split: Split) -> NDArray[np.int64]:
    """Return the flat position of the first event of each target in its split, shape (T,)."""
    row_P, position_P = expand_ranges(held.end_B, prepared.event_offset[held.user_B + 1])
    is_kept_P = (prepared.event_split[position_P] == SPLIT_CODE[split]) & _is_target(prepared, position_P)
    row_P, position_P = row_P[is_kept_P], position_P[is_kept_P]
    items = prepared.n_items + 1
    pair_M, first_M = np.unique(row_P * items + prepared.event_item[position_P], return_index=True)
    place_T = np.searchsorted(pair_M, target_rows(held.target_offset) * items + held.target)
    return np.asarray(position_P[first_M[place_T]])


def has_known_followed_topics(prepared: PreparedData, end_B: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether each user's followed topics were known where the history ends (B,).

    Followed topics that were derived from the first held-out events would leak what came after the cut.
    """
    return np.asarray(prepared.event_after_follows[end_B])


def held_out_histories(
    prepared: PreparedData, user_B: NDArray[np.int64], end_B: NDArray[np.int64], length: int
) -> Histories:
    """Return the histories of held-out users; followed topics that were not known at the cut are left out."""
    histories = gather_histories(prepared, user_B, end_B, length)
    known_B = has_known_followed_topics(prepared, end_B)
    return histories._replace(follow_BF=np.where(known_B[:, None], histories.follow_BF, 0))


def _is_target(prepared: PreparedData, position: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether the events at flat positions can be targets, in the same shape."""
    is_positive = (prepared.event_weight[position] > 0) & (prepared.event_item[position] > 0)
    return is_positive & prepared.event_after_follows[position]


def _is_first_time(
    prepared: PreparedData,
    target: NDArray[np.int64],
    offset: NDArray[np.int64],
    user_B: NDArray[np.int64],
    end_B: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Return for each target whether the item is absent from the user's history."""
    new, items = np.empty(len(target), dtype=np.bool_), prepared.n_items + 1
    for start in range(0, len(user_B), _USERS_PER_CHUNK):
        chunk = slice(start, start + _USERS_PER_CHUNK)
        row_T, position_T = expand_ranges(prepared.event_offset[user_B[chunk]], end_B[chunk])
        of_M, index_M = expand_ranges(offset[:-1][chunk], offset[1:][chunk])
        seen_T, pair_M = np.sort(row_T * items + prepared.event_item[position_T]), of_M * items + target[index_M]
        new[index_M] = np.searchsorted(seen_T, pair_M, side="right") == np.searchsorted(seen_T, pair_M)
    return new
