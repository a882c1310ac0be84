"""The training interactions of a prepared folder as a sparse matrix of users and items, and its singular vectors.

Legend: U users · I items · R singular vectors.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, eigsh

from multitudes.data.arrays import user_chunks
from multitudes.data.prepared import TEST, TRAIN, PreparedData
from multitudes.threads import chosen_threads

_DENSE_ITEMS: Final = 1_000  # up to these, all singular vectors are computed: the iteration fails on a few items
_TOLERANCE: Final = 1e-3  # relative, of the singular values
PARTS: Final = 4  # of a product, which as many threads share
S = TypeVar("S")
T = TypeVar("T")


def interaction_matrix(
    prepared: PreparedData, *, include_validation: bool = False, users: NDArray[np.int64] | None = None
) -> csr_array:
    """Return which users engaged with which items in training: binary, float32, shape (U, I + 1).

    Column 0, the unknown item, is empty. Repeats count once, and events of negative weight never. With ``users``, the
    rows of all others are empty; ``include_validation`` counts the validation split too, for a last fit.
    """
    offset, items, counts = prepared.event_offset, [np.zeros(0, dtype=np.int32)], []
    is_chosen_U = np.full(prepared.n_users, users is None)
    is_chosen_U[users] = True
    for chunk in user_chunks(offset):
        events, offset_U = slice(*offset[[chunk.start, chunk.stop]]), offset[chunk.start : chunk.stop + 1]
        split, item = prepared.event_split[events], prepared.event_item[events]
        # A user's splits follow each other, so the first event with an item is in training if any is.
        is_used = prepared.event_first[events] & (item > 0) & ((split == TRAIN) | (include_validation & (split < TEST)))
        is_used &= np.repeat(is_chosen_U[chunk], np.diff(offset_U))
        items.append(item[is_used])
        counts.append(np.diff(np.concatenate([[0], np.cumsum(is_used)])[offset_U - offset_U[0]]))
    item_N, offset_U = np.concatenate(items), np.concatenate([[0], *counts]).cumsum()
    shape = (prepared.n_users, prepared.n_items + 1)
    offset_U = offset_U.astype(np.int32 if len(item_N) < 2**31 else np.int64)  # SciPy keeps the items in the same type
    matrix = csr_array((np.ones(len(item_N), dtype=np.float32), item_N, offset_U), shape=shape)
    matrix.sort_indices()
    return matrix


class GramMatrix:
    """G = XᵀX of normalised interactions X, as a product with vectors: neither is formed.

    X is the binary matrix B, each entry divided by (n_u n_i)^exponent, then scaled to a mean square of 1.
    """

    def __init__(self, matrix: csr_array, exponent: float) -> None:
        """Keep a view of the binary interactions (U, I + 1), not a copy."""
        users, items = matrix.shape
        count_U, count_I = np.diff(matrix.indptr), np.bincount(matrix.indices, minlength=items)
        self.item_I = count_I.clip(min=1) ** -exponent  # what the interactions of each item are multiplied by
        square_U = count_U.clip(min=1) ** (-2 * exponent)
        diagonal_I = (matrix.T @ square_U) * self.item_I**2
        self.scale = matrix.nnz / (diagonal_I.sum() or 1.0)  # of G
        self.diagonal_I = self.scale * diagonal_I  # of G
        self._item_I1, self._square_U1 = (
            one.astype(np.float32)[:, None] for one in (self.item_I, self.scale * square_U)
        )
        bound = np.searchsorted(matrix.indptr, np.linspace(0, matrix.nnz, PARTS + 1)[1:-1]).tolist()
        self._parts = [(slice(*ends), _rows(matrix, *ends)) for ends in pairwise([0, *bound, users])]

    def __matmul__(self, vectors_IN: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return G v, shape (I + 1, N)."""
        scaled_IN = self._item_I1 * vectors_IN

        def product_of(part: tuple[slice, csr_array]) -> NDArray[np.float32]:
            users, interactions = part
            product_UN = interactions @ scaled_IN
            product_UN *= self._square_U1[users]
            product_IN: NDArray[np.float32] = interactions.T @ product_UN
            return product_IN

        return sum_of_parts(product_of, self._parts) * self._item_I1


def sum_of_parts(function: Callable[[T], NDArray[np.float32]], parts: Sequence[T]) -> NDArray[np.float32]:
    """Return the sum of what a function returns of some parts.

    Give always as many parts, ``PARTS``, so that their sum is the same on every machine.
    """
    sums = map_parts(function, parts)
    total = next(sums)
    for one in sums:
        total += one
    return total


def map_parts(function: Callable[[T], S], parts: Sequence[T]) -> Iterator[S]:
    """Yield what a function returns of some parts, in order; threads share them, for SciPy multiplies on one thread."""
    with ThreadPoolExecutor(min(PARTS, chosen_threads())) as threads:
        yield from threads.map(function, parts)


def _rows(matrix: csr_array, start: int, stop: int) -> csr_array:
    """Return some rows, which share the memory of the matrix."""
    offset = matrix.indptr[start : stop + 1]
    entries = slice(offset[0], offset[-1])
    part = (matrix.data[entries], matrix.indices[entries], offset - offset[0])
    return csr_array(part, shape=(stop - start, matrix.shape[1]))


def item_factors(matrix: csr_array, rank: int) -> NDArray[np.float32]:
    """Return V √S of the normalised interactions (U, I + 1), shape (I + 1, R); zeros for an item without interactions.

    R is ``rank``, lower if there are few items.
    """
    gram, items, rank = GramMatrix(matrix, 0.5), matrix.shape[1], min(rank, matrix.shape[1] - 1)
    if items <= _DENSE_ITEMS:
        square_R, vector_IR = np.linalg.eigh(gram @ np.eye(items, dtype=np.float32))
    else:
        operator = LinearOperator((items, items), matvec=lambda v: gram @ v.reshape(-1, 1), dtype=np.float32)
        start = np.ones(items, dtype=np.float32)  # a random start would make every run another one
        square_R, vector_IR = eigsh(operator, k=rank, v0=start, tol=_TOLERANCE)
    largest_R = np.argsort(-square_R, kind="stable")[:rank]
    factors_IR = vector_IR[:, largest_R] * (square_R[largest_R].clip(min=0) / gram.scale) ** 0.25
    factors_IR[np.asarray(matrix.sum(axis=0)) == 0] = 0.0
    return np.asarray(factors_IR, dtype=np.float32)
