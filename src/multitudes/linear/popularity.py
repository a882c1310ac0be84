"""Popularity of items by distinct users: who comes back often counts once, as a first-time target does.

Legend: I items.
"""

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from multitudes.data.prepared import TRAIN, PreparedData

_EVENTS_PER_CHUNK: Final = 5_000_000


def user_counts(prepared: PreparedData, *, recent: bool = False) -> NDArray[np.int64]:
    """Return how many users engaged with each item in training, shape (I + 1,); entry 0, the unknown item, is 0.

    Args:
        prepared: the prepared data.
        recent: count only the last ``recent_s`` seconds of training, a setting of ``prepare``.
    """
    after = _recent_after(prepared) if recent else None
    items = prepared.n_items + 1
    count_I = np.zeros(items, dtype=np.int64)
    for start, stop in _user_chunks(prepared.event_offset):
        events = slice(start, stop)
        is_counted = (prepared.event_split[events] == TRAIN) & (prepared.event_weight[events] > 0)
        if after is not None:
            is_counted &= prepared.event_time[events] > after
        position = np.flatnonzero(is_counted & (prepared.event_item[events] > 0)) + start
        pair = np.unique(prepared.users_of(position) * items + prepared.event_item[position])
        count_I += np.bincount(pair % items, minlength=items)
    return count_I


def _recent_after(prepared: PreparedData) -> int:
    last = max(
        (
            int(prepared.event_time[start:stop].max(initial=0, where=prepared.event_split[start:stop] == TRAIN))
            for start, stop in _user_chunks(prepared.event_offset)
        ),
        default=0,
    )
    return last - int(prepared.manifest["recent_s"])


def _user_chunks(event_offset: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return half-open ranges of positions that hold whole users."""
    targets = np.arange(0, event_offset[-1], _EVENTS_PER_CHUNK)
    edges = np.unique(np.append(event_offset[np.searchsorted(event_offset, targets)], event_offset[-1]))
    return [(int(start), int(stop)) for start, stop in pairwise(edges)]
