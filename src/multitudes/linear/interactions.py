"""The training interactions of a prepared folder as a sparse matrix of users and items, and its singular vectors.

Legend: B histories · U users · I items · R singular vectors · K eigenvectors · N any number of columns.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from itertools import pairwise
from operator import iadd
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multitudes.data.arrays import user_chunks
from multitudes.data.prepared import TEST, TRAIN, PreparedData
from multitudes.errors import DataError
from multitudes.linear.history import recency_weights
from multitudes.seeding import generator
from multitudes.threads import chosen_threads

_COLUMNS: Final = 16  # of the block that finds singular vectors: fewer find more of them in a basis of the same size
_EIGENVECTORS: Final = 128  # at least so many are computed; twice the rank if that is more
_ROWS_PER_CHUNK: Final = 1 << 16  # summed in double precision at once
SHORTEST: Final = 1e-4  # a direction that is shorter, relative to the longest, is rounding
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


def require_pairs(matrix: csr_array, prepared: PreparedData) -> None:
    """Check that some user engaged with two items: a linear model learns from pairs.

    Raises:
        DataError: nobody did.
    """
    if np.diff(matrix.indptr).max(initial=0) < 2:
        raise DataError(
            f"{prepared.path}: no user engaged with two items in training; expected items with users in common"
        )


def history_matrix(
    histories: Sequence[NDArray[np.int64]], items: int, recency: float = 0.0, newest: int = 0
) -> csr_array:
    """Return the weights of the items of each history, oldest first (B, I + 1); with ``newest``, of so many alone."""
    kept = [one[-newest:] for one in histories]
    item_E = np.concatenate([np.zeros(0, dtype=np.int64), *kept])
    weight_E = np.concatenate([np.zeros(0, dtype=np.float32), *(recency_weights(len(one), recency) for one in kept)])
    return csr_array((weight_E, item_E, np.cumsum([0, *map(len, kept)])), shape=(len(kept), items + 1))


def user_weights(matrix: csr_array, exponent: float) -> NDArray[np.float32]:
    """Return n^(−exponent) for each interaction (U, I + 1), n being those of its user; their mean is 1."""
    count_U = np.diff(matrix.indptr)
    weight_U = count_U.clip(min=1) ** -exponent
    weight_U = (weight_U * (matrix.nnz / max(float(weight_U @ count_U), 1e-30))).astype(np.float32)
    return np.repeat(weight_U, count_U)


def scale_users(matrix: csr_array, exponent: float) -> csr_array:
    """Return interactions (U, I + 1), scaled so that products of columns weigh each user by ``user_weights``."""
    scaled = matrix.data * np.sqrt(user_weights(matrix, exponent))
    return csr_array((scaled, matrix.indices, matrix.indptr), shape=matrix.shape)


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
    return reduce(iadd, map_parts(function, parts))


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


def used_items(matrix: csr_array) -> tuple[NDArray[np.int64], csr_array]:
    """Return the N items with an interaction, and the matrix (U, N) of these, which shares all but item numbers."""
    is_used_I = np.zeros(matrix.shape[1], dtype=np.bool_)
    is_used_I[matrix.indices] = True
    item_N, column_I = np.flatnonzero(is_used_I), np.cumsum(is_used_I, dtype=matrix.indices.dtype) - 1
    entries = (matrix.data, column_I[matrix.indices], matrix.indptr)
    return item_N, csr_array(entries, shape=(matrix.shape[0], len(item_N)))


def item_factors(matrix: csr_array, rank: int) -> NDArray[np.float32]:
    """Return V √S of the normalised interactions (U, I + 1), shape (I + 1, R); zeros for an item without interactions.

    R is ``rank``, lower if there are few items.
    """
    rank, (used, own) = min(rank, matrix.shape[1] - 1), used_items(matrix)
    factors_IR = np.zeros((matrix.shape[1], rank), dtype=np.float32)
    if rank and len(used):
        gram = GramMatrix(own, 0.5)
        square_K, vector_IK = largest_eigenpairs(gram, max(_EIGENVECTORS, 2 * rank), _COLUMNS)
        found_IR = vector_IK[:, :rank] * (square_K[:rank] / np.float32(gram.scale)) ** 0.25
        factors_IR[used, : found_IR.shape[1]] = found_IR
    return factors_IR


def largest_eigenpairs(gram: GramMatrix, n: int, columns: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the ``n`` largest eigenvalues, or all that are not 0, largest first, and their vectors (I, K).

    Block Lanczos: a basis of 2 n vectors is grown by products with the matrix, from some random columns, and the upper
    half of its eigenvalues is kept. If the basis spans all that the matrix reaches, every eigenvalue is exact and kept.
    """
    start_IN = generator(0, "ease", "start").standard_normal((len(gram.item_I), columns), dtype=np.float32)
    block_IN, size, longest = orthonormal(gram @ start_IN), 0, 0.0
    basis_IN = np.empty((len(start_IN), 2 * n), dtype=np.float32)
    projected_NN = np.zeros((2 * n, 2 * n))  # its upper triangle
    while block_IN.shape[1] and size < 2 * n:
        block_IN = block_IN[:, : 2 * n - size]
        start, size = size, size + block_IN.shape[1]
        basis_IN[:, start:size] = block_IN
        known_IN = basis_IN[:, :size]
        image_IN = gram @ block_IN
        projected_NN[:size, start:size] = overlap_NN = known_IN.T @ image_IN
        longest = max(longest, float(np.abs(overlap_NN).max()))
        image_IN -= known_IN @ overlap_NN
        block_IN = orthonormal(image_IN, SHORTEST * longest)
        block_IN = orthonormal(block_IN - known_IN @ (known_IN.T @ block_IN), 0.5)  # what rounding left
    value_N, rotation_NN = np.linalg.eigh(projected_NN[:size, :size], UPLO="U")
    kept = n if size == 2 * n else size
    values = value_N[: -kept - 1 : -1].clip(min=0).astype(np.float32)
    return values, basis_IN[:, :size] @ rotation_NN[:, : -kept - 1 : -1].astype(np.float32)


def orthonormal(vectors_IN: NDArray[np.float32], shortest: float = 0.0) -> NDArray[np.float32]:
    """Return an orthonormal basis of the columns, in their place.

    Directions that are shorter than ``shortest``, or no more than rounding, are left out.
    """
    for least in (shortest, 0.5):  # once more: the first basis has the errors of single precision
        square_N, rotation_NN = np.linalg.eigh(column_products(vectors_IN))
        is_kept_N = square_N > max(least, SHORTEST * np.sqrt(max(square_N.max(initial=0.0), 0.0))) ** 2
        rotation_NN = (rotation_NN[:, is_kept_N] / np.sqrt(square_N[is_kept_N])).astype(np.float32)
        for chunk_CN in _chunks(vectors_IN):
            chunk_CN[:, : rotation_NN.shape[1]] = chunk_CN @ rotation_NN
        vectors_IN = vectors_IN[:, : rotation_NN.shape[1]]
    return vectors_IN


def column_products(vectors_IN: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the inner products of all pairs of columns, shape (N, N), in double precision."""
    product_NN = np.zeros((vectors_IN.shape[1],) * 2)
    for chunk_CN in _chunks(vectors_IN):
        double_CN = chunk_CN.astype(np.float64)
        product_NN += double_CN.T @ double_CN
    return product_NN


def _chunks(vectors_IN: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return views of all rows, some after the other."""
    return np.array_split(vectors_IN, max(1, -(-len(vectors_IN) // _ROWS_PER_CHUNK)))
