"""The vectors of an index in the order of their ids, checked once at the border.

Legend: n items · Q queries · D dimensions. Rows are sorted by id, so that "ties by the smaller id" is "ties by row".
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.errors import DataError, UsageError

_LARGEST_SCORE = 1e38  # below float32's largest number, with room for rounding


@dataclass(frozen=True)
class Rows:
    """Sorted ids and their vectors. Built by ``checked_rows``; a loaded index builds it from verified files."""

    ids: NDArray[np.int64]
    vectors_nD: NDArray[np.float32]

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
        """
        row, held = find_rows(self.ids, np.asarray(ids, dtype=np.int64))
        if not held.all():
            raise UsageError(f"id {np.asarray(ids)[~held][0]} is not in the index of {len(self)} items")
        return np.asarray(self.vectors_nD[row])

    def queries(self, query_QD: ArrayLike) -> NDArray[np.float32]:
        """Return ``query_QD`` as contiguous finite float32 of the width of the index.

        Raises:
            UsageError: another width.
            DataError: not finite, or so long that a score could overflow.
        """
        query_QD = as_float32(query_QD, "a query")
        if query_QD.shape[1] != self.dimension:
            raise UsageError(
                f"queries have {query_QD.shape[1]} dimensions; the index holds {self.dimension}."
                " Use the user tower that was released with this index"
            )
        return query_QD


def checked_rows(ids: ArrayLike, vectors: ArrayLike) -> Rows:
    """Return the rows of an index, sorted by id.

    Raises:
        DataError: no vectors, not finite after the cast to float32, so long that a score could overflow, ids that are
            no integers, repeated, or of another number than the vectors.
    """
    id_n = np.asarray(ids)
    if id_n.dtype.kind not in "iu":
        raise DataError(f"ids of an index are {id_n.dtype}; expected integers")
    id_n = id_n.astype(np.int64)
    vectors_nD = as_float32(vectors, "an item")
    if len(id_n) != len(vectors_nD) or vectors_nD.size == 0:
        raise DataError(f"an index needs one id for each vector: {len(id_n)} ids, {len(vectors_nD)} vectors")
    order = np.argsort(id_n, kind="stable")
    id_n = id_n[order]
    repeated = np.flatnonzero(id_n[1:] == id_n[:-1])
    if len(repeated):
        raise DataError(f"id {id_n[repeated[0]]} is given twice; the ids of an index are distinct")
    return Rows(id_n, np.ascontiguousarray(vectors_nD[order]))


def as_float32(vectors: ArrayLike, what: str) -> NDArray[np.float32]:
    """Return vectors as a contiguous float32 matrix; the check comes after the cast, since 1e39 becomes infinite there.

    Raises:
        DataError: not a matrix, or a value is not finite or too long for a float32 inner product.
    """
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(vectors, dtype=np.float32)
    if matrix.ndim != 2:
        raise DataError(f"vectors have the shape {matrix.shape}; expected a matrix with one row for each vector")
    # The squared length of both sides bounds every inner product, so no score can overflow into infinity.
    squared = np.einsum("nd,nd->n", matrix, matrix, dtype=np.float64)
    wrong = np.flatnonzero(~(squared <= _LARGEST_SCORE))
    if len(wrong):
        raise DataError(f"the vector of {what} (row {wrong[0]} of {len(matrix)}) is not finite or longer than 1e19")
    return matrix


def find_rows(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the row of each wanted id in the sorted ``ids``, and whether it is there at all."""
    if len(ids) == 0:
        return np.zeros(wanted.shape, dtype=np.int64), np.zeros(wanted.shape, dtype=np.bool_)
    if ids[-1] - ids[0] == len(ids) - 1:  # without gaps, as item numbers are: no search needed
        row = np.clip(wanted, ids[0], ids[-1]) - ids[0]
    else:
        row = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return row, ids[row] == wanted
