"""Whole numbers of a long range, chosen by one bit each: the i-th is found without a list of them.

A hundred million events of which most are targets take 8 bytes each as a list, and here a bit and a half: the bits, in
words of 64, and before each word how many were chosen (rank and select; Jacobson 1989).

Legend: R words.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_WORD = 64  # bits
_BYTES = _WORD // 8


class Bitset:
    """The numbers of ``range(size)`` that were chosen, ascending."""

    def __init__(self, blocks: Iterable[NDArray[np.bool_]]) -> None:
        """``blocks``: for each number whether it is chosen, from 0 on, in pieces of any length."""
        packed, counts = [], []
        rest, self.size = np.zeros(0, dtype=np.bool_), 0
        for block in blocks:
            self.size += len(block)
            rest = np.concatenate([rest, block])
            whole = len(rest) // _WORD * _WORD
            bits_R8 = np.packbits(rest[:whole]).reshape(-1, _BYTES)
            packed.append(bits_R8)
            counts.append(np.bitwise_count(bits_R8).sum(axis=1, dtype=np.uint8))
            rest = rest[whole:].copy()
        last_R8 = np.packbits(np.pad(rest, (0, _WORD - len(rest)))).reshape(1, _BYTES)  # so that no number is beyond
        self._bits_R8 = np.concatenate([*packed, last_R8])
        counts.append(np.bitwise_count(last_R8).sum(axis=1, dtype=np.uint8))
        count_R = np.concatenate(counts)
        self._length = int(count_R.sum(dtype=np.int64))
        small = np.uint32 if self._length <= np.iinfo(np.uint32).max else np.uint64
        before_R = np.cumsum(count_R, dtype=small)
        self._before_R: NDArray[np.unsignedinteger] = np.subtract(before_R, count_R, out=before_R)

    def __len__(self) -> int:
        """Return how many are chosen."""
        return self._length

    def select(self, index: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the chosen numbers by their place among them, from 0; as many as asked for, in the same shape."""
        place = np.asarray(index).astype(self._before_R.dtype)
        word = np.searchsorted(self._before_R, place, side="right") - 1
        earlier = (place - self._before_R[word]).astype(np.uint8)  # chosen ones of the same word before it
        passed = np.cumsum(np.unpackbits(self._bits_R8[word], axis=-1), axis=-1, dtype=np.uint8) <= earlier[..., None]
        return np.asarray(word * _WORD + passed.sum(axis=-1), dtype=np.int64)

    def between(self, low: int, high: int) -> NDArray[np.int64]:
        """Return the chosen numbers from ``low`` to below ``high``."""
        first = low // _WORD
        bits = np.unpackbits(self._bits_R8[first : high // _WORD + 1])
        return np.flatnonzero(bits[low - first * _WORD : high - first * _WORD]) + low

    def to_array(self) -> NDArray[np.int64]:
        """Return all that are chosen."""
        return self.between(0, self.size)
