"""The vectors of an index in the order of their ids, with their posting lists, checked once at the border.

Legend: n items · Q queries · D dimensions. Rows are sorted by id, so that "ties by the smaller id" is "ties by row".
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.errors import DataError, UsageError
from multitudes.index.postings import NO_POSTINGS, Postings, postings
from multitudes.index.protocol import Hits, Topics

_LARGEST_SCORE = 1e38  # below float32's largest number, with room for rounding


@dataclass(frozen=True)
class Rows:
    """Sorted ids, their vectors and topics. Built by ``checked_rows``; a loaded index has it from verified files."""

    ids: NDArray[np.int64]
    vectors_nD: NDArray[np.float32]
    postings: Postings = NO_POSTINGS

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.ids)

    @property
    def dimension(self) -> int:
        """Width of the vectors."""
        return int(self.vectors_nD.shape[1])

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of ``ids``.

        Raises:
            UsageError: an id is not held.
            DataError: the ids are no integers.
        """
        id_n = checked_ids(ids)
        row, held = find_rows(self.ids, id_n)
        if not held.all():
            raise UsageError(f"id {id_n[~held][0]} is not in the index of {len(self)} items")
        return self.at(row)

    def at(self, row: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the vectors of some rows, in any shape; −1 is the last. Indexing does the same in twice the time."""
        return self.vectors_nD.take(row, axis=0)

    def held(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of those ids that are held, ascending, once each."""
        row, held = find_rows(self.ids, ids)
        row = row[held]
        return row if (row[1:] > row[:-1]).all() else np.unique(row)

    def named(self, hits: Hits) -> Hits:
        """Put the ids in the place of the rows that were found."""
        found_QN = hits.id_QN >= 0
        hits.id_QN[found_QN] = self.ids[hits.id_QN[found_QN]]
        return hits

    def items_of(self, topic: int) -> NDArray[np.int64]:
        """Return the ids of a topic, ascending."""
        return self.ids[self.postings.rows(topic)]

    def vectors_of(self, topic: int) -> NDArray[np.float32]:
        """Return the vectors of a topic, in the order of ``items_of``, side by side in memory."""
        return self.at(self.postings.rows(topic))

    def mask_of(self, topic: int) -> NDArray[np.bool_]:
        """Say of each row whether it belongs to a topic."""
        mask_n = np.zeros(len(self), dtype=np.bool_)
        mask_n[self.postings.rows(topic)] = True
        return mask_n


def checked_rows(ids: ArrayLike, vectors: ArrayLike, topics: Topics | None = None) -> Rows:
    """Return the rows of an index, sorted by id; ``topics`` are in the order of ``ids`` as given.

    Raises:
        DataError: no vectors, not finite after the cast to float32, so long that a score could overflow, ids that are
            no integers, repeated, or of another number than the vectors or the topics.
    """
    id_n = checked_ids(ids)
    vectors_nD = as_float32(vectors, "an item")
    if len(id_n) != len(vectors_nD) or vectors_nD.size == 0:
        raise DataError(f"an index needs one id for each vector: {len(id_n)} ids, {len(vectors_nD)} vectors")
    order = np.argsort(id_n, kind="stable")
    id_n = id_n[order]
    repeated = np.flatnonzero(id_n[1:] == id_n[:-1])
    if len(repeated):
        raise DataError(f"id {id_n[repeated[0]]} is given twice; the ids of an index are distinct")
    row_n = np.empty(len(order), dtype=np.int64)
    row_n[order] = np.arange(len(order))
    return Rows(id_n, np.ascontiguousarray(vectors_nD[order]), postings(topics, row_n))


def checked_ids(ids: ArrayLike) -> NDArray[np.int64]:
    """Return ids as int64.

    Raises:
        DataError: they are no integers, or too large for 64 bits with a sign.
    """
    id_n = np.asarray(ids)
    if id_n.dtype.kind not in "iu" or id_n.ndim != 1:
        raise DataError(f"ids of an index are {id_n.dtype} of the shape {id_n.shape}; expected integers, one row")
    if id_n.dtype.kind == "u" and len(id_n) and id_n.max() > np.iinfo(np.int64).max:
        raise DataError(f"id {id_n.max()} is too large; the ids of an index are below 2^63")
    return id_n.astype(np.int64)


def as_float32(vectors: ArrayLike, what: str) -> NDArray[np.float32]:
    """Return vectors as a contiguous float32 matrix; the check comes after the cast, since 1e39 becomes infinite there.

    Raises:
        DataError: not numbers, not a matrix, or a value is not finite or too long for a float32 inner product.
    """
    given = np.asarray(vectors)
    if given.dtype.kind not in "fiu":
        raise DataError(f"vectors are {given.dtype}; expected numbers")
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(given, dtype=np.float32)
    if matrix.ndim != 2:
        raise DataError(f"vectors have the shape {matrix.shape}; expected a matrix with one row for each vector")
    wrong = np.flatnonzero(~are_sound(matrix))
    if len(wrong):
        raise DataError(f"the vector of {what} (row {wrong[0]} of {len(matrix)}) is not finite or longer than 1e19")
    return matrix


def are_sound(matrix_nD: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Say of each row whether it is finite and at most 1e19 long, as vectors of an index must be."""
    # The squared length of both sides bounds every inner product, so no score can overflow into infinity.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.vecdot(matrix_nD, matrix_nD) <= _LARGEST_SCORE)


def find_rows(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the row of each wanted id in the sorted ``ids``, and whether it is there at all."""
    if len(ids) == 0:
        return np.zeros(wanted.shape, dtype=np.int64), np.zeros(wanted.shape, dtype=np.bool_)
    first, last = int(ids[0]), int(ids[-1])
    if last - first == len(ids) - 1:  # without gaps, as item numbers are: no search needed
        row = np.minimum(np.maximum(wanted, first), last) - first
    else:
        row = np.minimum(ids.searchsorted(wanted), len(ids) - 1)
    return row, ids.take(row) == wanted
