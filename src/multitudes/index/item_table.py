"""The items of an index: ids, vectors and posting lists, validated once on entry.

Rows are sorted by id, so ties by the smaller id are ties by row. A posting list has the rows of a topic; its length
decides whether a topic is scanned or searched with the engine.

Legend: n items · T distinct topics · M pairs of a row and a topic · D dimensions · E rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
from numpy.typing import ArrayLike, NDArray

from multitudes.errors import DataError
from multitudes.index.protocol import Hits, Topics

_LAST_BITS = 2**16 - 1
_LARGEST_SCORE = 1e38  # below float32's largest number, with room for rounding


@dataclass(frozen=True)
class Postings:
    """The rows of each topic, ascending: those of ``topic_T[t]`` are ``row_M[offset[t] : offset[t + 1]]``."""

    topic_T: NDArray[np.int64]  # ascending
    offset: NDArray[np.int64]  # T + 1
    row_M: NDArray[np.int32]

    def rows(self, topic: int) -> NDArray[np.int32]:
        """Return the rows of a topic; empty for an unknown topic."""
        t = int(self.topic_T.searchsorted(topic))
        is_known = t < len(self.topic_T) and self.topic_T[t] == topic
        return self.row_M[self.offset[t] : self.offset[t + 1]] if is_known else self.row_M[:0]

    def topics(self, n: int) -> Topics:
        """Return the inverse: the topics of each of n rows."""
        topic_M = np.repeat(self.topic_T, np.diff(self.offset))
        order = np.argsort(self.row_M, kind="stable")  # topics ascend within a row
        count_n = np.bincount(self.row_M, minlength=n)
        return Topics.from_counts(count_n, topic_M[order])


NO_POSTINGS = Postings(np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int32))


def make_postings(topics: Topics | None, row_n: NDArray[np.int64]) -> Postings:
    """Return the posting lists of n items with these topics; ``row_n`` are their rows in the index.

    Raises:
        DataError: the topics are not integers, not those of n items, or a topic is below 1.
    """
    if topics is None:
        return NO_POSTINGS
    offset, topic_M = (np.asarray(array) for array in topics)
    if offset.dtype.kind not in "iu" or topic_M.dtype.kind not in "iu":
        raise DataError(f"topics are {topic_M.dtype} and their offsets {offset.dtype}; expected integers")
    offset, topic_M = offset.astype(np.int64), topic_M.astype(np.int64)
    if len(offset) != len(row_n) + 1 or offset[0] != 0 or offset[-1] != len(topic_M) or (np.diff(offset) < 0).any():
        raise DataError(
            f"topics are given for {len(offset) - 1} items, up to place {offset[-1:]} of {len(topic_M)};"
            f" expected {len(row_n)} items, one for each id"
        )
    if len(topic_M) and topic_M.min() < 1:
        raise DataError(f"topic {topic_M.min()} is given; topics are numbered from 1, an item without one has none")
    topic_T, t_M = np.unique(topic_M, return_inverse=True)
    n = max(1, int(row_n.max(initial=0)) + 1)
    # By topic, then by row; a topic that an item has twice counts once.
    t_M, row_M = np.divmod(np.unique(t_M * n + np.repeat(row_n, np.diff(offset))), n)
    first_T = np.searchsorted(t_M, np.arange(len(topic_T) + 1))
    return Postings(topic_T, first_T.astype(np.int64), row_M.astype(np.int32))


def find_rows(
    ids: NDArray[np.integer[Any]], wanted: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the row of each wanted id in the sorted ``ids``, and whether it is there."""
    if len(ids) == 0:
        return np.zeros(wanted.shape, dtype=np.int64), np.zeros(wanted.shape, dtype=np.bool_)
    first, last = int(ids[0]), int(ids[-1])
    if last - first == len(ids) - 1:  # no gaps, as with item numbers: no search needed
        row = np.minimum(np.maximum(wanted, first), last) - first
    else:
        row = np.minimum(ids.searchsorted(wanted), len(ids) - 1)
    return row, ids.take(row) == wanted


def are_among(row_E: NDArray[np.integer[Any]], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of some rows (any shape) are in the sorted ``row_E``."""
    is_marked, is_found = np.zeros(_LAST_BITS + 1, dtype=np.bool_), np.zeros(rows.size, dtype=np.bool_)
    is_marked[row_E & _LAST_BITS] = True  # few of the other rows have the last bits of one of these
    place = is_marked.take(rows.ravel() & _LAST_BITS).nonzero()[0]
    is_found[place] = find_rows(row_E, rows.take(place))[1]
    return is_found.reshape(rows.shape)


def select_topics(offset: NDArray[np.int64], topic: NDArray[np.integer[Any]], rows: NDArray[np.int64]) -> Topics:
    """Return the topics of some rows of a table of topics, in the order of ``rows``."""
    first = offset.take(rows)  # take is faster than brackets on the small arrays of a request
    length = offset.take(rows + 1) - first
    end = np.cumsum(length)
    position = np.arange(end[-1] if len(end) else 0) + np.repeat(first - (end - length), length)
    return Topics(np.concatenate([[0], end]).astype(np.int64), np.asarray(topic.take(position), dtype=np.int64))


@dataclass(frozen=True)
class ItemTable:
    """Sorted ids with their vectors and topics, made by ``make_item_table`` or loaded from verified files."""

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

    def vectors_at(self, row: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the vectors of rows, in any shape; −1 is the last row. Indexing with ``[]`` takes twice the time."""
        return self.vectors_nD.take(row, axis=0)

    def rows_of_ids(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of those ids that are in the table, ascending and distinct."""
        row, is_held = find_rows(self.ids, ids)
        row = row[is_held]
        return row if (row[1:] > row[:-1]).all() else np.unique(row)

    def rows_to_ids(self, hits: Hits) -> Hits:
        """Replace the rows in ``hits`` by their ids, in place."""
        ids_QN = self.ids.take(hits.id_QN)  # of the last item where there is no hit
        np.copyto(hits.id_QN, ids_QN, where=hits.id_QN >= 0)
        return hits

    def digest(self) -> str:
        """Return a digest of ids, vectors and topics."""
        digest = xxhash.xxh3_128()
        for array in (self.ids, self.vectors_nD, *self.postings.topics(len(self))):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def topic_penalty(self, topic: int) -> NDArray[np.float32]:
        """Return for each row what is added to its score in a search of a topic: 0, or minus infinity."""
        penalty_n = np.full(len(self), -np.inf, dtype=np.float32)
        penalty_n[self.postings.rows(topic)] = 0
        return penalty_n


def make_item_table(
    ids: ArrayLike, vectors: ArrayLike, topics: Topics | None = None, *, width: int | None = None
) -> ItemTable:
    """Return the table of items, sorted by id; ``topics`` are in the order of ``ids`` as given.

    Vectors that are sorted, contiguous and float32 already are kept, not copied.

    Raises:
        DataError: there are no vectors, a vector is not finite as float32 or so long that a score could overflow, or
            ids are not integers, repeated, or of another number than the vectors or the topics. ``width`` is that of
            the index to which the items are added, and they have another.
    """
    id_n = check_ids(ids)
    vectors_nD = as_float32(vectors, "an item")
    if len(id_n) != len(vectors_nD) or vectors_nD.size == 0:
        raise DataError(f"an index needs one id for each vector: {len(id_n)} ids, {len(vectors_nD)} vectors")
    if width not in {None, given := vectors_nD.shape[1]}:
        raise DataError(f"the vectors to add have {given} dimensions; the index holds {width}. Nothing was added")
    order = np.argsort(id_n, kind="stable")
    is_sorted, id_n = bool((id_n[1:] >= id_n[:-1]).all()), id_n[order]
    repeated = np.flatnonzero(id_n[1:] == id_n[:-1])
    if len(repeated):
        raise DataError(f"id {id_n[repeated[0]]} is given twice; the ids of an index are distinct")
    row_n = np.empty(len(order), dtype=np.int64)
    row_n[order] = np.arange(len(order))
    return ItemTable(id_n, vectors_nD if is_sorted else vectors_nD[order], make_postings(topics, row_n))


def check_ids(ids: ArrayLike) -> NDArray[np.int64]:
    """Return ids as int64.

    Raises:
        DataError: they are not integers, or do not fit int64.
    """
    id_n = np.asarray(ids)
    if id_n.dtype.kind not in "iu" or id_n.ndim != 1:
        raise DataError(f"ids of an index are {id_n.dtype} of the shape {id_n.shape}; expected integers, one row")
    if id_n.dtype.kind == "u" and len(id_n) and id_n.max() > np.iinfo(np.int64).max:
        raise DataError(f"id {id_n.max()} is too large; the ids of an index are below 2^63")
    return id_n.astype(np.int64)


def as_float32(vectors: ArrayLike, what: str) -> NDArray[np.float32]:
    """Return vectors as a contiguous float32 matrix. It is checked after the cast, which turns 1e39 into infinity.

    Raises:
        DataError: not numbers, not a matrix, or a value is not finite or too large for a float32 inner product.
    """
    given = np.asarray(vectors)
    if given.dtype.kind not in "fiu":
        raise DataError(f"vectors are {given.dtype}; expected numbers")
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(given, dtype=np.float32)
    if matrix.ndim != 2:
        raise DataError(f"vectors have the shape {matrix.shape}; expected a matrix with one row for each vector")
    invalid = np.flatnonzero(~are_valid_vectors(matrix))
    if len(invalid):
        raise DataError(f"the vector of {what} (row {invalid[0]} of {len(matrix)}) is not finite or longer than 1e19")
    return matrix


def are_valid_vectors(matrix_nD: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return for each row whether it is finite and at most 1e19 long, as vectors of an index must be."""
    # The squared lengths of both sides bound every inner product, so no score can overflow into infinity.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.vecdot(matrix_nD, matrix_nD) <= _LARGEST_SCORE)


def common_length(vectors_nD: NDArray[np.float32]) -> float:
    """Return the length for ``pad_to_length``: the longest, or four medians; few longer ones must not hide the rest."""
    length_n = np.sqrt(_squared_lengths(vectors_nD))
    return float(min(length_n.max(), 4 * np.median(length_n)))


def pad_to_length(vectors_nD: NDArray[np.float32], length: float) -> NDArray[np.float32]:
    """Return items with one more coordinate, √(length² − |x|²), which makes all equally long (n, D + 1).

    A graph finds near neighbours, which have the largest inner products only among items of equal length: otherwise
    long items hide the others. With a 0 at that coordinate of each query, inner products stay the same (Bachrach et
    al., RecSys 2014).
    """
    missing_n = np.sqrt(np.maximum(0, length**2 - _squared_lengths(vectors_nD)))
    return np.hstack([vectors_nD, missing_n[:, None].astype(np.float32)])


def _squared_lengths(vectors_nD: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.einsum("nd,nd->n", vectors_nD, vectors_nD, dtype=np.float64))


def l2_normalize(vectors_ID: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the vectors at unit length; vectors of zeros (items without a vector) stay zeros."""
    length_I1 = np.linalg.norm(vectors_ID, axis=1, keepdims=True)
    return np.asarray(vectors_ID / np.where(length_I1 > 0, length_I1, 1), dtype=np.float32)
