"""Popularity of items by distinct users: who comes back often counts once, as a first-time target does.

Legend: I items.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.windows import user_chunks
from multitudes.data.prepared import TRAIN, PreparedData


def user_counts(prepared: PreparedData, *, recent: bool = False) -> NDArray[np.int64]:
    """Return how many users engaged with each item in training, shape (I + 1,); entry 0, the unknown item, is 0.

    Args:
        prepared: the prepared data.
        recent: count only the last ``recent_s`` seconds of training, a setting of ``prepare``.
    """
    after = _recent_after(prepared) if recent else None
    items = prepared.n_items + 1
    count_I = np.zeros(items, dtype=np.int64)
    for events in _event_chunks(prepared):
        is_counted = (prepared.event_split[events] == TRAIN) & (prepared.event_weight[events] > 0)
        if after is not None:
            is_counted &= prepared.event_time[events] > after
        position = np.flatnonzero(is_counted & (prepared.event_item[events] > 0)) + events.start
        pair = np.unique(prepared.users_of(position) * items + prepared.event_item[position])
        count_I += np.bincount(pair % items, minlength=items)
    return count_I


def _recent_after(prepared: PreparedData) -> int:
    last = max(
        (
            int(prepared.event_time[events].max(initial=0, where=prepared.event_split[events] == TRAIN))
            for events in _event_chunks(prepared)
        ),
        default=0,
    )
    return last - int(prepared.manifest["recent_s"])


def _event_chunks(prepared: PreparedData) -> Iterator[slice]:
    """Yield the positions of the events of some users after the other."""
    for users in user_chunks(prepared):
        yield slice(int(prepared.event_offset[users.start]), int(prepared.event_offset[users.stop]))


def items_by_popularity(count: NDArray[np.number], tie_count: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Return all items from 1, most popular first; ties by ``tie_count`` if given, then by item number."""
    keys = (-count[1:],) if tie_count is None else (-tie_count[1:], -count[1:])
    return np.lexsort(keys).astype(np.int64) + 1
