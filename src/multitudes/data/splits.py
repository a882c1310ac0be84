"""Three rules that assign each event to training, validation or test.

Every rule returns 0 (train), 1 (validation) or 2 (test) for each event. Legend: E events · U users.
"""

from collections.abc import Callable, Iterable
from decimal import ROUND_CEILING, Decimal
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from multitudes.data.user_batches import UserEvents

SplitRule = Literal["time", "user", "leave_one_out"]
SplitFunction = Callable[[UserEvents], NDArray[np.uint8]]
_BUCKETS = 2**16


def split_function(
    name: SplitRule, validation_share: float, test_share: float, times: Callable[[], Iterable[NDArray[np.int64]]]
) -> SplitFunction:
    """Return the function that splits the events of users by one of three rules.

    * ``time``: at two times, the same for every user, chosen so that the shares hold over all events.
    * ``user``: the last shares of each user's own events; users with fewer than 3 distinct times are for training.
    * ``leave_one_out``: the last event is for testing, the one before it for validation; users with fewer than 3
      events are for training. It ignores the shares.

    ``time`` and ``user`` keep a user's events of one time together. The shares are those of all events. ``times``
    yields the times of all events, array by array, at each call.
    """
    if name == "time":
        train_until = exact_quantile(times, 1.0 - validation_share - test_share)
        validation_until = exact_quantile(times, 1.0 - test_share)
        # An event at exactly one of the two times belongs to the earlier split.
        return lambda users: _split_codes(users.time_E > train_until, users.time_E > validation_until)
    if name == "user":
        return lambda users: split_by_user(users, validation_share, test_share)
    return leave_one_out


def split_by_user(users: UserEvents, validation_share: float, test_share: float) -> NDArray[np.uint8]:
    """Split each user's events, counted backwards over the user's distinct times.

    A split takes all events of a time, and further times until it has its share of the events (at least one). It leaves
    at least one time to each split before it.
    """
    past_E = users.past
    time_number_E = np.cumsum(users.is_new_time, dtype=np.int64)
    nth_E = time_number_E - users.per_event(time_number_E[users.starts]) + 1  # of the times of the user, from 1
    times_U = _max_per_user(users, nth_E)
    total_E = users.per_event(users.events_U)

    enough_E = total_E - past_E >= users.per_event(_target_count(users.events_U, test_share))
    test_E = users.per_event(np.maximum(3, _max_per_user(users, np.where(enough_E, nth_E, 0))))
    before_test_E = users.per_event(_max_per_user(users, np.where(nth_E == test_E, past_E, 0)))
    enough_E = before_test_E - past_E >= users.per_event(_target_count(users.events_U, validation_share))
    enough_E &= nth_E < test_E
    validation_E = users.per_event(np.maximum(2, _max_per_user(users, np.where(enough_E, nth_E, 0))))

    held_E = users.per_event(times_U >= 3)
    return _split_codes(held_E & (nth_E >= validation_E), held_E & (nth_E >= test_E))


def leave_one_out(users: UserEvents) -> NDArray[np.uint8]:
    """Hold out the last two events of users who have three."""
    from_end_E = users.per_event(users.events_U) - users.position  # 1 = the last
    held_E = users.per_event(users.events_U >= 3)
    return _split_codes(held_E & (from_end_E <= 2), held_E & (from_end_E == 1))


def exact_quantile(values: Callable[[], Iterable[NDArray[np.int64]]], share: float) -> int:
    """Return the smallest value such that at least ``share`` of all values are at most that; exact.

    It counts the values, of which each call yields all, in buckets, then those in the bucket of the result in finer
    buckets, and so on: memory does not grow. ``share`` is taken as its decimal text, so that 0.8 of 10 is 8.
    """
    ranges = [(int(array.min()), int(array.max()), len(array)) for array in values() if len(array)]
    low, high, total = min(low for low, _, _ in ranges), max(high for _, high, _ in ranges), sum(n for *_, n in ranges)
    rank = max(1, int((Decimal(repr(share)) * total).to_integral_value(ROUND_CEILING)))
    while low < high:
        width = (high - low) // _BUCKETS + 1
        counts = np.zeros(_BUCKETS, dtype=np.int64)
        for array in values():
            within = array[(array >= low) & (array <= high)]
            # A difference of 64-bit integers fits into an unsigned one.
            bucket = (within.astype(np.uint64) - np.uint64(low % 2**64)) // np.uint64(width)
            counts += np.bincount(bucket.astype(np.int64), minlength=_BUCKETS)
        until = np.cumsum(counts)
        hit = int(np.searchsorted(until, rank))
        rank -= int(until[hit] - counts[hit])
        low, high = low + hit * width, min(high, low + (hit + 1) * width - 1)
    return low


def _target_count(events_U: NDArray[np.int64], share: float) -> NDArray[np.float64]:
    """Return the number of events that a split takes at least, halves rounded up (U)."""
    return np.asarray(np.maximum(1, np.floor(events_U * share + 0.5)))


def _max_per_user(users: UserEvents, value_E: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.maximum.reduceat(value_E, users.starts)


def _split_codes(held_E: NDArray[np.bool_], test_E: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the code of each event's split; test events are held out too."""
    return held_E.astype(np.uint8) + test_E
