"""How often users were shown an item in the last days: what tires them.

Legend: B visitors · S slots · M showings of a day.
"""

import numpy as np
from numpy.typing import NDArray


class Shown:
    """Counts showings over a number of days."""

    def __init__(self, items: int, days: int) -> None:
        self._items, self._days = items, days
        self._keys: dict[int, NDArray[np.int64]] = {}  # day → M sorted keys, one for each showing

    def counts(self, day: int, user_B: NDArray[np.int64], item_BS: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how often each item was shown to its visitor in the days before ``day`` that are remembered."""
        wanted = self._key(user_B, item_BS)
        count = np.zeros(wanted.shape, dtype=np.int64)
        for then, keys in self._keys.items():
            if day - self._days <= then < day:
                count += np.searchsorted(keys, wanted, "right") - np.searchsorted(keys, wanted, "left")
        return count

    def add(self, day: int, user_B: NDArray[np.int64], item_BS: NDArray[np.int64]) -> None:
        """Remember what was shown on a day, and forget what is too old to count on the next."""
        self._keys = {then: keys for then, keys in self._keys.items() if then > day - self._days}
        self._keys[day] = np.sort(self._key(user_B, item_BS)[item_BS >= 0])

    def _key(self, user_B: NDArray[np.int64], item_BS: NDArray[np.int64]) -> NDArray[np.int64]:
        return user_B[:, None] * self._items + item_BS
