"""Numbers of ids: a sorted column is searched. A dictionary of a million ids would be 100 MB of Python objects."""

from collections.abc import Sequence
from typing import Any

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
        self._integers = self._sorted.to_numpy() if ids.dtype.is_integer() else None  # the same memory

    @property
    def integers(self) -> bool:
        """Whether the ids are integers; else they are texts."""
        return self._integers is not None

    def of(self, ids: Sequence[Id]) -> NDArray[np.int64]:
        """Return the number of each id (M); 0: not known, or no id of this kind."""
        number_M = np.zeros(len(ids), dtype=np.int64)
        place: list[int] | slice = slice(None)
        if not self._all_fit(ids):
            place = [m for m, one in enumerate(ids) if self._fits(one)]
            ids = [ids[m] for m in place]
        if len(ids) > 0 and len(self._sorted) > 0:
            row, found = self._rows(ids)
            number_M[place] = np.where(found, 1 + (row if self._order is None else self._order[row]), 0)
        return number_M

    def _all_fit(self, ids: Sequence[Any]) -> bool:
        """Tell at a glance that every id of a list may be looked for, as mostly is so; False: each has to be asked."""
        integers = self._integers is not None and set(map(type, ids)) == {int}
        return integers and min(ids) >= -_LIMIT and max(ids) < _LIMIT

    def _fits(self, one: object) -> bool:
        if self._integers is None:  # half of a surrogate pair is no text that a column could hold
            return isinstance(one, str) and (one.isascii() or not any("\ud800" <= c <= "\udfff" for c in one))
        return isinstance(one, int | np.integer) and -_LIMIT <= int(one) < _LIMIT

    def _rows(self, ids: Sequence[Id]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        if self._integers is not None:
            return find_rows(self._integers, np.array(ids, dtype=np.int64))
        wanted = pl.Series(ids, dtype=pl.String)
        row = np.minimum(self._sorted.search_sorted(wanted).to_numpy(), len(self._sorted) - 1)
        return row.astype(np.int64), (self._sorted[row] == wanted).to_numpy()
