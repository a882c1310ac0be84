"""Item-kNN: items that the same users engage with, by cosine with shrinkage (Sarwar et al., WWW 2001).

    similarity of i and j = users of both / (√(users of i · users of j) + shrinkage)

Shrinkage lowers the similarity of rare items, whose counts are chance. A user with n items may count as n^(−β). Each
item keeps its nearest neighbours, and each item of a history adds its similarity to their scores.

Legend: B users · I items.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from multitudes.linear.interactions import scale_users

NEIGHBOURS: Final = 100
_COUNTS_PER_CHUNK: Final = 1 << 24  # bounds the memory of counting, if all items occur together: 300 MB


class ItemKnn(NamedTuple):
    """The nearest neighbours of each item; see the module."""

    similarity_II: csr_array  # (I + 1, I + 1), by rows; row and column 0, the unknown item, are empty

    def scores(self, history: csr_array) -> NDArray[np.float32]:
        """Return the score of every item for histories (B, I + 1), in that shape."""
        dense: NDArray[np.float32] = (history @ self.similarity_II).toarray().astype(np.float32, copy=False)
        return dense


def fit_item_knn(
    matrix: csr_array, shrinkage: float, neighbours: int = NEIGHBOURS, user_exponent: float = 0.0
) -> ItemKnn:
    """Return the nearest neighbours of every item of interactions (U, I + 1); ties by item number."""
    matrix = scale_users(matrix, user_exponent)
    by_item = csr_array(matrix.T)
    root_I = np.sqrt(np.bincount(matrix.indices, matrix.data**2, matrix.shape[1])).astype(np.float32)
    chunks = []
    items = by_item.shape[0]
    step = max(1, _COUNTS_PER_CHUNK // items)
    for start in range(0, items, step):
        counts = csr_array(by_item[start : start + step] @ matrix)
        row = np.repeat(np.arange(counts.shape[0]) + start, np.diff(counts.indptr))
        counts.data /= root_I[row] * root_I[counts.indices] + np.float32(shrinkage)
        counts.data[row == counts.indices] = 0.0
        counts.eliminate_zeros()
        chunks.append(top_neighbours(counts, neighbours))
    return ItemKnn(csr_array(vstack(chunks, format="csr")))


def top_neighbours(counts: csr_array, n: int) -> csr_array:
    """Return the ``n`` largest entries of each row; ties by item number."""
    top = select_entries(counts, largest_entries(counts, n))
    top.sort_indices()
    return top


def select_entries(matrix: csr_array, is_kept: NDArray[np.bool_]) -> csr_array:
    """Return a matrix with some of its entries, in their order."""
    offset = np.concatenate([[0], np.cumsum(is_kept)])[matrix.indptr]
    return csr_array((matrix.data[is_kept], matrix.indices[is_kept], offset), shape=matrix.shape)


def largest_entries(counts: csr_array, n: int) -> NDArray[np.bool_]:
    """Return which entries are among the ``n`` largest of their row; ties by item number."""
    is_kept = np.ones(counts.nnz, dtype=np.bool_)
    for row in np.flatnonzero(np.diff(counts.indptr) > n):
        entries = slice(counts.indptr[row], counts.indptr[row + 1])
        value = counts.data[entries]
        last = np.partition(value, len(value) - n)[len(value) - n]
        is_kept[entries] = value > last
        tied = np.flatnonzero(value == last)
        by_item = np.argsort(counts.indices[entries][tied])
        is_kept[entries.start + tied[by_item[: n - np.count_nonzero(value > last)]]] = True
    return is_kept
