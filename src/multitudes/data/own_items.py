"""The distinct items of users' histories: how often each occurs, and where in the history first and last.

Only events of positive weight with a known item count. A place is the number of such events before the event, so the
history itself ends at the sum of the counts.

Legend: B users · E events of all users · M items of all users, flat by user.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.data.arrays import expand_ranges
from multitudes.data.prepared import PreparedData


class OwnItems(NamedTuple):
    """The distinct items of B users, by user and then by item."""

    offset: NDArray[np.int64]  # B + 1
    item_M: NDArray[np.int64]
    count_M: NDArray[np.int64]  # events
    newest_M: NDArray[np.int64]  # place of the newest event
    oldest_M: NDArray[np.int64]  # place of the oldest event

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row of the user of each item (M)."""
        return np.repeat(np.arange(len(self.offset) - 1), np.diff(self.offset))

    @property
    def events(self) -> NDArray[np.int64]:
        """The length of each user's history (B)."""
        events = np.concatenate([[0], np.cumsum(self.count_M)])
        return np.diff(events[self.offset])


NO_ITEMS = OwnItems(np.zeros(2, dtype=np.int64), *(np.zeros(0, dtype=np.int64) for _ in range(4)))  # of one user


def group_events(user_E: NDArray[np.int64], item_E: NDArray[np.int64], users: int) -> OwnItems:
    """Return the distinct items of the histories of B = ``users``.

    ``user_E`` has the row of the user of each event, ascending; ``item_E`` item numbers, oldest first for each user.
    """
    events = np.searchsorted(user_E, np.arange(users + 1))
    place_E = np.arange(len(user_E)) - events[user_E]
    width = int(item_E.max(initial=0)) + 1
    pair_E = user_E * width + item_E
    order_E = np.argsort(pair_E, kind="stable")
    pair_E, place_E = pair_E[order_E], place_E[order_E]
    first_M = np.flatnonzero(np.diff(pair_E, prepend=-1))
    end_M = np.append(first_M[1:], len(pair_E))[: len(first_M)]
    user_M, item_M = np.divmod(pair_E[first_M], width)
    offset = np.searchsorted(user_M, np.arange(users + 1))
    return OwnItems(offset, item_M, end_M - first_M, place_E[end_M - 1], place_E[first_M])


def prepared_items(prepared: PreparedData, user_B: NDArray[np.int64], end_B: NDArray[np.int64]) -> OwnItems:
    """Return the items of users (numbers) before a cut, the flat position of each user's first later event."""
    user_E, position_E = expand_ranges(prepared.event_offset[user_B], end_B)
    positive_E = (prepared.event_weight[position_E] > 0) & (prepared.event_item[position_E] > 0)
    return group_events(user_E[positive_E], prepared.event_item[position_E[positive_E]].astype(np.int64), len(user_B))


def oldest_first(own: OwnItems) -> list[NDArray[np.int64]]:
    """Return the items of each user by their newest events."""
    by_user = zip(own.offset[:-1].tolist(), own.offset[1:].tolist(), strict=True)
    return [own.item_M[start:end][np.argsort(own.newest_M[start:end])] for start, end in by_user]


def positive_items(
    prepared: PreparedData, user_B: NDArray[np.int64], end_B: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Return ``prepared_items`` of each user, oldest first by the newest event of each item."""
    return oldest_first(prepared_items(prepared, user_B, end_B))


def add_events(own: OwnItems, item_E: NDArray[np.int64]) -> OwnItems:
    """Return the items of one user with further events, oldest first."""
    new = group_events(np.zeros(len(item_E), dtype=np.int64), item_E, 1)
    start = int(own.count_M.sum())
    item_M = np.union1d(own.item_M, new.item_M)
    count_M, newest_M = np.zeros(len(item_M), dtype=np.int64), np.zeros(len(item_M), dtype=np.int64)
    oldest_M = np.zeros(len(item_M), dtype=np.int64)
    for first, one in ((start, new), (0, own)):  # the older of two first places is written last
        at = np.searchsorted(item_M, one.item_M)
        count_M[at] += one.count_M
        newest_M[at] = np.maximum(newest_M[at], first + one.newest_M)
        oldest_M[at] = first + one.oldest_M
    return OwnItems(np.array([0, len(item_M)]), item_M, count_M, newest_M, oldest_M)


def join_users(rows: Sequence[OwnItems]) -> OwnItems:
    """Return the items of several groups of users as one, in order."""
    sizes = np.concatenate([np.diff(one.offset) for one in rows])
    columns = list(zip(*rows, strict=True))[1:]
    return OwnItems(np.concatenate([[0], np.cumsum(sizes)]), *map(np.concatenate, columns))
