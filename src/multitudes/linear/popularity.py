"""Popularity of items by distinct users: who comes back often counts once, as a first-time target does.

Legend: I items.
"""

import numpy as np
from numpy.typing import NDArray

from multitudes.data.arrays import distinct, user_chunks
from multitudes.data.prepared import TRAIN, PreparedData


def user_counts(prepared: PreparedData, *, recent: bool = False) -> NDArray[np.int64]:
    """Return how many users engaged with each item in training, shape (I + 1,); entry 0, the unknown item, is 0.

    ``recent``: in the last ``manifest.recent_s`` seconds of training.
    """
    offset, after = prepared.event_offset, None
    events = [slice(int(offset[users.start]), int(offset[users.stop])) for users in user_chunks(offset)]
    if recent:
        time, is_train = prepared.event_time, prepared.event_split == TRAIN
        last = max((int(time[some].max(initial=0, where=is_train[some])) for some in events), default=0)
        after = last - int(prepared.manifest["recent_s"])
    items = prepared.n_items + 1
    count_I = np.zeros(items, dtype=np.int64)
    for some in events:
        is_counted = (prepared.event_split[some] == TRAIN) & (prepared.event_weight[some] > 0)
        if after is not None:
            is_counted &= prepared.event_time[some] > after
        position = np.flatnonzero(is_counted & (prepared.event_item[some] > 0)) + some.start
        pair = distinct(prepared.users_of(position) * items + prepared.event_item[position])
        count_I += np.bincount(pair % items, minlength=items)
    return count_I


def items_by_popularity(count: NDArray[np.number], tie_count: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Return all items from 1, most popular first; ties by ``tie_count`` if given, then by item number."""
    keys = (-count[1:],) if tie_count is None else (-tie_count[1:], -count[1:])
    return np.lexsort(keys).astype(np.int64) + 1
