"""A compressed set of integers with rank and select: one bit per number, and the i-th member without a list.

The targets among a hundred million events take 8 bytes each as an array of positions, and 1.5 bits each here: the bits,
in words of 64, and for each word the number of members before it (rank and select; Jacobson 1989).

Legend: R words.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_WORD = 64  # bits
_BYTES = _WORD // 8


class Bitset:
    """A set of integers in ``range(size)``, in ascending order."""

    def __init__(self, chunks: Iterable[NDArray[np.bool_]]) -> None:
        """Build the set from ``chunks``: for each number from 0 on, whether it is a member; any length."""
        packed, counts = [], []
        rest, self.size = np.zeros(0, dtype=np.bool_), 0
        for chunk in chunks:
            self.size += len(chunk)
            rest = np.concatenate([rest, chunk])
            full = len(rest) // _WORD * _WORD
            bits_R8 = np.packbits(rest[:full]).reshape(-1, _BYTES)
            packed.append(bits_R8)
            counts.append(np.bitwise_count(bits_R8).sum(axis=1, dtype=np.uint8))
            rest = rest[full:].copy()
        # The last word ends with zero bits, so that no index is out of bounds.
        last_R8 = np.packbits(np.pad(rest, (0, _WORD - len(rest)))).reshape(1, _BYTES)
        self._bits_R8 = np.concatenate([*packed, last_R8])
        counts.append(np.bitwise_count(last_R8).sum(axis=1, dtype=np.uint8))
        count_R = np.concatenate(counts)
        self._length = int(count_R.sum(dtype=np.int64))
        small = np.uint32 if self._length <= np.iinfo(np.uint32).max else np.uint64
        before_R = np.cumsum(count_R, dtype=small)
        self._before_R: NDArray[np.unsignedinteger] = np.subtract(before_R, count_R, out=before_R)

    def __len__(self) -> int:
        """Return the number of members."""
        return self._length

    def select(self, index: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the members of the given ranks, counted from 0, in the shape of ``index``."""
        rank = np.asarray(index).astype(self._before_R.dtype)
        word = np.searchsorted(self._before_R, rank, side="right") - 1
        earlier = (rank - self._before_R[word]).astype(np.uint8)  # members of the same word before it
        passed = np.cumsum(np.unpackbits(self._bits_R8[word], axis=-1), axis=-1, dtype=np.uint8) <= earlier[..., None]
        return np.asarray(word * _WORD + passed.sum(axis=-1), dtype=np.int64)

    def between(self, low: int, high: int) -> NDArray[np.int64]:
        """Return the members from ``low`` to below ``high``."""
        first = low // _WORD
        bits = np.unpackbits(self._bits_R8[first : high // _WORD + 1])
        return np.flatnonzero(bits[low - first * _WORD : high - first * _WORD]) + low

    def to_array(self) -> NDArray[np.int64]:
        """Return all members."""
        return self.between(0, self.size)
