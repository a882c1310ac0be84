"""How often users were shown an item: what tires them.

Legend: B users · S slots.

What every user of an arm did so far, by user and time.

Legend: E actions · B visitors · U users.
"""

import numpy as np
from numpy.typing import NDArray

from multitudes.simulation.actions import Actions


class ImpressionCounts:
    """How often each user was shown each item: sorted keys with counts, as pairs are few of all that could be."""

    def __init__(self, items: int) -> None:
        self._items, self._key, self._times = items, np.empty(0, np.int64), np.empty(0, np.int64)

    def counts(self, user_B: NDArray[np.int64], item_BS: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the counts; 0 for negative items."""
        if not len(self._key):
            return np.zeros(item_BS.shape, dtype=np.int64)
        key_BS = user_B[:, None] * self._items + item_BS
        at_BS = np.minimum(np.searchsorted(self._key, key_BS), len(self._key) - 1)
        return np.where((self._key[at_BS] == key_BS) & (item_BS >= 0), self._times[at_BS], 0)

    def add(self, user_B: NDArray[np.int64], item_BS: NDArray[np.int64]) -> None:
        """Count what was shown."""
        key_BS = (user_B[:, None] * self._items + item_BS)[item_BS >= 0]
        keys = np.concatenate([self._key, key_BS])
        times = np.concatenate([self._times, np.ones(len(key_BS), dtype=np.int64)])
        self._key, place = np.unique(keys, return_inverse=True)
        self._times = np.bincount(place, weights=times, minlength=len(self._key)).astype(np.int64)


class History:
    """All that users did; grows by a day at a time."""

    def __init__(self, users: int) -> None:
        nothing = np.zeros(0, dtype=np.int64)
        self._users = users
        self._all = Actions(nothing, nothing, nothing, nothing.astype(np.int8))
        self._offset = np.zeros(users + 1, dtype=np.int64)

    def add(self, *more: Actions) -> None:
        """Write down what was done; no day before the newest one."""
        user, item, time, action = (np.concatenate(column) for column in zip(self._all, *more, strict=True))
        order = np.lexsort((time, user))
        self._all = Actions(user[order], item[order], time[order], action[order])
        self._offset = np.searchsorted(self._all.user_E, np.arange(self._users + 1))

    @property
    def all_actions(self) -> Actions:
        """All actions, sorted by user and time."""
        return self._all

    def user_actions(self, user: int, before_s: int, since_s: int = -(2**62)) -> Actions:
        """Return what one user did from ``since_s`` until just before ``before_s``, oldest first."""
        mine = slice(self._offset[user], self._offset[user + 1])
        lo, hi = self._offset[user] + np.searchsorted(self._all.time_E[mine], [since_s, before_s])
        return self._all.select(slice(lo, hi))
