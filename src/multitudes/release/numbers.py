"""Numbers of ids: a sorted column is searched. A dictionary of a million ids would be 100 MB of Python objects."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.ids import Id
from multitudes.index.rows import find_rows

_LIMIT = 2**63


class Numbers:
    """Distinct ids, all of them integers or all of them texts, numbered from 1 in their order; threads may share it."""

    def __init__(self, ids: pl.Series) -> None:
        # As a release is written, its ids ascend, but for those that were carried over from the release before.
        self._order = None if ids.is_sorted() else ids.arg_sort().to_numpy()
        self._sorted = (ids if self._order is None else ids[self._order]).rechunk()
        self._integers = ids.dtype.is_integer()

    def of(self, ids: Sequence[Id]) -> NDArray[np.int64]:
        """Return the number of each id (M); 0: not known, or no id of this kind."""
        number_M = np.zeros(len(ids), dtype=np.int64)
        place = [m for m, one in enumerate(ids) if self._fits(one)]
        if place and len(self._sorted):
            row, found = self._rows([ids[m] for m in place])
            number_M[place] = np.where(found, 1 + (row if self._order is None else self._order[row]), 0)
        return number_M

    def _fits(self, one: object) -> bool:
        if not self._integers:  # half of a surrogate pair is no text that a column could hold
            return isinstance(one, str) and (one.isascii() or not any("\ud800" <= c <= "\udfff" for c in one))
        return isinstance(one, int | np.integer) and -_LIMIT <= int(one) < _LIMIT

    def _rows(self, ids: Sequence[Id]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        if self._integers:
            return find_rows(self._sorted.to_numpy(), np.array(ids, dtype=np.int64))
        wanted = pl.Series(ids, dtype=pl.String)
        row = np.minimum(self._sorted.search_sorted(wanted).to_numpy(), len(self._sorted) - 1)
        return row.astype(np.int64), (self._sorted[row] == wanted).to_numpy()
