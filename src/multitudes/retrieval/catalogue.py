"""The items that can be retrieved: the index, the popularity of its items, and their tastes.

Legend: I items, numbered from 1 (these are the ids of the index) · N items of a list.
"""

import numpy as np
from numpy.typing import NDArray

from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Index
from multitudes.index.tastes import NO_TASTE
from multitudes.linear.neighbours import NeighbourSource


class Catalogue:
    """The items of a release, or of a run that is evaluated."""

    def __init__(
        self,
        index: Index,
        item_count: NDArray[np.int64],
        item_taste: NDArray[np.int16] | None = None,
        neighbours: NeighbourSource | None = None,
    ) -> None:
        """Create a catalogue of an index; without tastes (I + 1), lists are not calibrated."""
        self.neighbours = neighbours  # what own events propose; None: nothing
        self.index, self.item_count = index, item_count  # users of each item (I + 1), their popularity
        self.item_taste = np.zeros(0, dtype=np.int16) if item_taste is None else item_taste
        self._taste = np.append(self.item_taste, np.int16(NO_TASTE))  # the last is that of all other numbers
        self.n_tastes = int(self.item_taste.max(initial=NO_TASTE)) + 1
        self._by_popularity: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None  # ids of the index, and sorted
        # A server lists its items now, not when it is away and popular items stand in. A change makes a new catalogue.
        self._listed = None if isinstance(index, LiveIndex) else index.ids()

    def ids(self) -> NDArray[np.int64]:
        """Return the items of the index, ascending."""
        return self.index.ids() if self._listed is None else self._listed

    def items_by_popularity(self) -> NDArray[np.int64]:
        """Return the items of the index, most popular first; ties go to the smaller number."""
        ids, known = self.ids(), self._by_popularity
        if known is None or known[0] is not ids:  # the same array until items change
            self._by_popularity = known = ids, ids[np.argsort(-self.user_counts(ids), kind="stable")]
        return known[1]

    def tastes_of(self, ids: NDArray[np.int64]) -> NDArray[np.int16]:
        """Return the tastes of items, ``NO_TASTE`` for numbers beyond ``item_taste``, and for ``NO_ID``."""
        return self._taste[np.minimum(ids, len(self.item_taste))]  # NO_ID is −1

    def user_counts(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the users of items, 0 for items beyond ``item_count``."""
        known = ids < len(self.item_count)
        return np.where(known, self.item_count[np.where(known, ids, 0)], 0)


def popular_items(catalogue: Catalogue, n: int, excluded: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ``n`` most popular items that are not in ``excluded``, or all of them if there are fewer.

    Reads only as many popular items as necessary, so many excluded items cost little.
    """
    by_popularity, excluded = catalogue.items_by_popularity(), np.sort(excluded)
    n_read = n + 64  # usually few of the most popular items are excluded
    while True:
        items = by_popularity[:n_read]
        row = np.minimum(np.searchsorted(excluded, items), max(0, len(excluded) - 1))
        allowed = items[excluded[row] != items] if len(excluded) else items
        if len(allowed) >= n or n_read >= len(by_popularity):
            return allowed[:n]
        n_read *= 4
