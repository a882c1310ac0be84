"""The users of a held-out split: what is known of each (history up to the cut) and what should be found (targets)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.histories import Histories, gather
from multitudes.data.prepared import SPLIT_CODE, Prepared, Split
from multitudes.data.ragged import ragged

_AT_ONCE = 10_000  # users whose histories are looked through at once


@dataclass(frozen=True)
class HeldOut:
    """B users with at least one target in a split. Targets are distinct item numbers, ragged by user."""

    user_B: NDArray[np.int64]
    end_B: NDArray[np.int64]  # flat position where the history ends (exclusive)
    target_offset: NDArray[np.int64]  # B + 1
    target: NDArray[np.int64]  # item numbers
    target_is_new: NDArray[np.bool_]  # not in the user's history

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.user_B)


def held_out(prepared: Prepared, split: Split) -> HeldOut:
    """Return the users of ``split`` with their targets: positive, known items, later than the follows.

    The history of a user is everything before the first event of the split in the stable order; for the test split
    that includes validation. Targets that the vocabulary does not know are counted in the manifest, not returned.
    """
    code = SPLIT_CODE[split]
    in_split = prepared.event_split == code
    wanted = in_split & (prepared.event_weight > 0) & (prepared.event_item > 0) & prepared.event_after_follows
    position = np.flatnonzero(wanted)
    user_of = np.searchsorted(prepared.event_offset, position, side="right") - 1
    items = prepared.n_items + 1
    pair_M = np.unique(user_of * items + prepared.event_item[position])
    user_B, start = np.unique(pair_M // items, return_index=True)
    end_B = _first_position(prepared, in_split, user_B)
    offset, target = np.append(start, len(pair_M)).astype(np.int64), pair_M % items
    return HeldOut(user_B, end_B, offset, target, _is_new(prepared, target, offset, user_B, end_B))


def follows_known(prepared: Prepared, end_B: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether each user's followed topics were known where the history ends (B,).

    Derived ones may have been made of the first held-out events: then they tell of what came after the cut.
    """
    return np.asarray(prepared.event_after_follows[end_B])


def known_histories(prepared: Prepared, user_B: NDArray[np.int64], end_B: NDArray[np.int64], length: int) -> Histories:
    """Return the histories of held-out users, as ``gather`` does, with the topics that they were known to follow."""
    histories = gather(prepared, user_B, end_B, length)
    known_B = follows_known(prepared, end_B)
    return histories._replace(follow_BF=np.where(known_B[:, None], histories.follow_BF, 0))


def _first_position(prepared: Prepared, in_split: NDArray[np.bool_], user_B: NDArray[np.int64]) -> NDArray[np.int64]:
    position = np.flatnonzero(in_split)
    start_B = prepared.event_offset[user_B]
    return position[np.searchsorted(position, start_B)].astype(np.int64)


def _is_new(
    prepared: Prepared,
    target: NDArray[np.int64],
    offset: NDArray[np.int64],
    user_B: NDArray[np.int64],
    end_B: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Return for each target whether the item is absent from the user's history."""
    new, items = np.empty(len(target), dtype=np.bool_), prepared.n_items + 1
    for start in range(0, len(user_B), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        row_T, position_T = ragged(prepared.event_offset[user_B[some]], end_B[some])
        of_M, index_M = ragged(offset[:-1][some], offset[1:][some])
        seen_T = row_T * items + prepared.event_item[position_T]
        new[index_M] = np.isin(of_M * items + target[index_M], seen_T, invert=True)
    return new
