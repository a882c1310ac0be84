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
        place_V, value_V = ragged(self.offset[row_N], self.offset[row_N + 1])
        return place_V, self.value[value_V]


def ragged(low_B: NDArray[np.int64], high_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row and the value of every whole number in the half-open ranges [low, high), range by range."""
    count_B = high_B - low_B
    row_T = np.repeat(np.arange(len(low_B)), count_B)
    begins_B = np.cumsum(count_B) - count_B
    return row_T, np.arange(len(row_T)) - begins_B[row_T] + low_B[row_T]
