"""What every user of an arm did so far, by user and time.

Legend: E actions · B visitors · U users.
"""

import numpy as np

from multitudes.simulate.organic import Actions


class Diary:
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
    def everything(self) -> Actions:
        """All actions, sorted by user and time."""
        return self._all

    def of(self, user: int, before_s: int, since_s: int = -(2**62)) -> Actions:
        """Return what one user did from ``since_s`` until just before ``before_s``, oldest first."""
        mine = slice(self._offset[user], self._offset[user + 1])
        lo, hi = self._offset[user] + np.searchsorted(self._all.time_E[mine], [since_s, before_s])
        return self._all.part(slice(lo, hi))
