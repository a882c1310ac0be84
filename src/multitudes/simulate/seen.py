"""How often users were shown an item: what tires them.

Legend: B users · S slots.
"""

import numpy as np
from numpy.typing import NDArray


class Seen:
    """How often each user was shown each item: sorted keys with counts, as pairs are few of all that could be."""

    def __init__(self, items: int) -> None:
        self._items, self._key, self._times = items, np.empty(0, np.int64), np.empty(0, np.int64)

    def times(self, user_B: NDArray[np.int64], item_BS: NDArray[np.int64]) -> NDArray[np.int64]:
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
