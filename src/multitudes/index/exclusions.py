"""What FAISS must not propose, as a bit for each row.

A bitmap costs the walk through 4-bit lists some 8 % (12 × 232 proposals of 1 M, 1,000 rows excluded), however many rows
it takes out; a set of ids costs as much and has to be made anew from all of them.

Legend: n items · E rows that are left out.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

_faiss: Any = faiss  # its types are incomplete


class ExcludedRows:
    """Rows that no search may return, ascending, and as bits, which are made when they are first asked for."""

    def __init__(self, row_E: NDArray[np.int64], bits: Callable[[], NDArray[np.uint8]]) -> None:
        self.row_E, self._make_bits = row_E, bits

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """One for each row, from the lowest of the first byte on: whether it may be proposed."""
        return self._make_bits()

    def with_rows(self, row_E: NDArray[np.int64]) -> "ExcludedRows":
        """Return the same with some rows more, ascending, once each."""
        if len(row_E) == 0:
            return self
        both = row_E
        if len(self.row_E):
            both = np.sort(np.concatenate([self.row_E, row_E]), kind="stable")  # two runs are merged
            both = both[np.diff(both, prepend=-1) > 0]
        return ExcludedRows(both, lambda: _clear_bits(self.bits, row_E))

    @property
    def allowed_bits(self) -> NDArray[np.uint8] | None:
        """The bits of the rows that may be proposed; None where all may."""
        return self.bits if len(self.row_E) else None


def no_exclusions(items: int) -> ExcludedRows:
    """Return what leaves out none of so many rows."""
    return ExcludedRows(np.zeros(0, dtype=np.int64), lambda: np.full(items // 8 + 1, 255, dtype=np.uint8))


def _clear_bits(bits: NDArray[np.uint8], row_E: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return a copy of the bits without those of some rows."""
    left = bits.copy()
    np.bitwise_and.at(left, row_E >> 3, ~(1 << (row_E & 7)).astype(np.uint8))
    return left


def faiss_selector(among: NDArray[np.uint8] | None) -> Any:  # noqa: ANN401 (FAISS has no types)
    """Return a selector of the rows with a bit; None selects every row."""
    if among is None:
        return None
    selector = _faiss.IDSelectorBitmap(among)
    selector.kept_alive = among  # FAISS holds a bare pointer to it
    return selector
