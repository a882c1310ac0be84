"""Popularity of items by distinct users, and its trend: who comes back often counts once, as a first-time target does.

Legend: I items.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.windows import user_chunks
from multitudes.data.prepared import TRAIN, VALIDATION, PreparedData
from multitudes.data.timestamps import DAY_S
from multitudes.errors import UsageError

TREND_DAYS: Final = 30
_TREND_PRIOR: Final = 3  # added to the recent users of an item and to the usual number: with few users it is near 1


def user_counts(prepared: PreparedData, *, recent: bool = False) -> NDArray[np.int64]:
    """Return how many users engaged with each item in training, shape (I + 1,); entry 0, the unknown item, is 0.

    Args:
        prepared: the prepared data.
        recent: count only the last ``recent_s`` seconds of training, a setting of ``prepare``.
    """
    return _count_users(prepared, TRAIN, int(prepared.manifest["recent_s"]) if recent else None)


def popularity_trends(prepared: PreparedData, *, include_validation: bool = False) -> NDArray[np.float32]:
    """Return how popular each item was of late, relative to before, shape (I + 1,).

    It is the number of the item's users in the last ``TREND_DAYS`` days, divided by what is usual for an item with as
    many users: above 1 for an item that rises, below for one that is past.

    Args:
        prepared: the prepared data, with times.
        include_validation: count the validation split too, for a last fit.
    """
    last_split = VALIDATION if include_validation else TRAIN
    users_I, recent_I = _count_users(prepared, last_split), _count_users(prepared, last_split, TREND_DAYS * DAY_S)
    expected_I = users_I * (recent_I.sum() / max(users_I.sum(), 1))
    return np.asarray((recent_I + _TREND_PRIOR) / (expected_I + _TREND_PRIOR), dtype=np.float32)


def check_trend(prepared: PreparedData, trend: float | None) -> None:
    """Check a trend that somebody has set.

    Raises:
        UsageError: the data have no times.
    """
    if trend and prepared.ordered_only:
        raise UsageError(f"trend: got {trend:g}; expected 0 or unset: {prepared.path} has no times, only an order")


def _count_users(prepared: PreparedData, last_split: int, last_s: int | None = None) -> NDArray[np.int64]:
    """Return how many users engaged with each item up to a split, or in its last seconds."""
    after = None if last_s is None else _last_time(prepared, last_split) - last_s
    items = prepared.n_items + 1
    count_I = np.zeros(items, dtype=np.int64)
    for events in _event_chunks(prepared):
        is_counted = (prepared.event_split[events] <= last_split) & (prepared.event_weight[events] > 0)
        if after is not None:
            is_counted &= prepared.event_time[events] > after
        position = np.flatnonzero(is_counted & (prepared.event_item[events] > 0)) + events.start
        pair = np.unique(prepared.users_of(position) * items + prepared.event_item[position])
        count_I += np.bincount(pair % items, minlength=items)
    return count_I


def _last_time(prepared: PreparedData, last_split: int) -> int:
    return max(
        (
            int(prepared.event_time[events].max(initial=0, where=prepared.event_split[events] <= last_split))
            for events in _event_chunks(prepared)
        ),
        default=0,
    )


def _event_chunks(prepared: PreparedData) -> Iterator[slice]:
    """Yield the positions of the events of some users after the other."""
    for users in user_chunks(prepared):
        yield slice(int(prepared.event_offset[users.start]), int(prepared.event_offset[users.stop]))


def items_by_popularity(count: NDArray[np.number], tie_count: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Return all items from 1, most popular first; ties by ``tie_count`` if given, then by item number."""
    keys = (-count[1:],) if tie_count is None else (-tie_count[1:], -count[1:])
    return np.lexsort(keys).astype(np.int64) + 1
