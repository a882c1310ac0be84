"""The state of an arm's users: their actions so far, and how often each item was shown to them.

Legend: B users · S slots · E actions.
"""

import numpy as np
from numpy.typing import NDArray

from multitudes_lab.simulation.actions import Actions


class ImpressionCounts:
    """How often each item was shown to each user: sorted keys with counts, as only few pairs occur."""

    def __init__(self, items: int) -> None:
        self._items, self._key, self._count = items, np.empty(0, np.int64), np.empty(0, np.int64)

    def counts(self, user_B: NDArray[np.int64], item_BS: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the counts (B, S); 0 for negative items."""
        if not len(self._key):
            return np.zeros(item_BS.shape, dtype=np.int64)
        key_BS = user_B[:, None] * self._items + item_BS
        row_BS = np.minimum(np.searchsorted(self._key, key_BS), len(self._key) - 1)
        return np.where((self._key[row_BS] == key_BS) & (item_BS >= 0), self._count[row_BS], 0)

    def add(self, user_B: NDArray[np.int64], item_BS: NDArray[np.int64]) -> None:
        """Count the items shown to each user; negative items are empty slots."""
        key_BS = (user_B[:, None] * self._items + item_BS)[item_BS >= 0]
        keys = np.concatenate([self._key, key_BS])
        counts = np.concatenate([self._count, np.ones(len(key_BS), dtype=np.int64)])
        self._key, row = np.unique(keys, return_inverse=True)
        self._count = np.bincount(row, weights=counts, minlength=len(self._key)).astype(np.int64)


class History:
    """All actions of users; grows by a day at a time."""

    def __init__(self, users: int) -> None:
        empty = np.zeros(0, dtype=np.int64)
        self._users = users
        self.all_actions = Actions(empty, empty, empty, empty.astype(np.int8))  # sorted by user and time
        self._offset = np.zeros(users + 1, dtype=np.int64)

    def add(self, *more: Actions) -> None:
        """Add actions of the newest day or of later days."""
        user, item, time, action = (np.concatenate(column) for column in zip(self.all_actions, *more, strict=True))
        order = np.lexsort((time, user))
        self.all_actions = Actions(user[order], item[order], time[order], action[order])
        self._offset = np.searchsorted(self.all_actions.user_E, np.arange(self._users + 1))

    def user_actions(self, user: int, before_s: int, since_s: int = -(2**62)) -> Actions:
        """Return the actions of one user from ``since_s`` until before ``before_s``, oldest first."""
        rows = slice(self._offset[user], self._offset[user + 1])
        first, end = self._offset[user] + np.searchsorted(self.all_actions.time_E[rows], [since_s, before_s])
        user_E, item_E, time_E, action_E = self.all_actions
        return Actions(user_E[first:end], item_E[first:end], time_E[first:end], action_E[first:end])
