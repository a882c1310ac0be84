"""Lists of numbers, one a row, as offsets and values."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ragged:
    """Row ``r`` has ``value[offset[r] : offset[r + 1]]``; values are from 0, below ``width``."""

    offset: NDArray[np.int64]
    value: NDArray[np.int32]
    width: int

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offset) - 1

    @cached_property
    def count(self) -> NDArray[np.int64]:
        """How many values each row has."""
        return np.diff(self.offset)

    def of(self, row_N: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return the values of some rows, one row after the other, each with its position in ``row_N``."""
        count_N = self.count[row_N]
        before_N = np.cumsum(count_N) - count_N
        place_V = np.arange(int(count_N.sum())) + np.repeat(self.offset[row_N] - before_N, count_N)
        return np.repeat(np.arange(len(row_N)), count_N), self.value[place_V]
