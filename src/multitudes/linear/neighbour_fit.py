"""The fit of neighbours: a ridge regression of each item on its nearest neighbours by item-kNN.

EASE inverts a matrix of all items; here each item is a small problem of its own, so the cost grows with the items, and
threads share them.

Legend: U users · I items · S neighbours of one item · E entries of the rows.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from multitudes.linear.interactions import user_weights
from multitudes.linear.item_knn import fit_item_knn, largest_entries, select_entries
from multitudes.linear.neighbours import NeighbourFit, Neighbours
from multitudes.progress import Progress, silent
from multitudes.threads import chosen_threads

NEIGHBOURS: Final = 200  # of an item
LEAST_NEIGHBOURS: Final = 50  # of an item of a large corpus
MAX_ENTRIES: Final = 50_000_000  # of all rows: 400 MB
SHRINKAGE: Final = 20.0  # of the similarity that chooses the neighbours
MAX_ROW: Final = 500  # entries of an item of the history: the strongest of what is next to many
GRID: Final = (NeighbourFit(), NeighbourFit(root=80.0), NeighbourFit(ridge=1000.0))  # that validation chooses from
USER_EXPONENTS: Final = (0.0, 0.3)
RECENCIES: Final = (0.5, 0.25, 0.0, 0.75)
_MAX_DENSE_ITEMS: Final = 11_000  # up to so many, the products of all pairs are computed at once: half a gigabyte
_ITEMS_PER_CHUNK: Final = 256

Judge = Callable[[Neighbours, float], float]  # the hit rate of rows with an exponent of recency


def neighbours_of_each(items: int) -> int:
    """Return how many neighbours each of so many items has: fewer in a corpus of more than a quarter million."""
    return max(LEAST_NEIGHBOURS, min(NEIGHBOURS, MAX_ENTRIES // max(items, 1)))


def nearest_neighbours(matrix: csr_array) -> csr_array:
    """Return the neighbours of each item of interactions (U, I + 1), by row, shape (I + 1, I + 1)."""
    return fit_item_knn(matrix, SHRINKAGE, neighbours_of_each(matrix.shape[1] - 1)).similarity_II


def fit_neighbours(
    matrix: csr_array, support: csr_array, fits: Sequence[NeighbourFit], progress: Progress = silent
) -> list[Neighbours]:
    """Return the rows of interactions (U, I + 1) with each of some settings that share the exponent of users.

    ``support`` are the neighbours, of ``nearest_neighbours``. Threads share the items; their number changes no bit.
    ``progress`` is called with the chunks of items that are done.
    """
    (exponent,) = {one.user_exponent for one in fits}
    products, count_I = _Products(matrix, exponent), np.bincount(matrix.indices, minlength=matrix.shape[1])
    penalties = [np.float32(one.ridge) + np.float32(one.root) * np.sqrt(count_I, dtype=np.float32) for one in fits]
    weights = np.empty((len(fits), support.nnz), dtype=np.float32)

    def solve(start: int) -> None:
        for item in range(start, min(start + _ITEMS_PER_CHUNK, matrix.shape[1])):
            entries = slice(support.indptr[item], support.indptr[item + 1])
            if (chosen := support.indices[entries]).size:
                gram_SS, target_S = products.of(chosen, item)
                for row_E, penalty_I in zip(weights, penalties, strict=True):
                    row_E[entries] = _ridge(gram_SS, target_S, penalty_I[chosen])

    starts = range(0, matrix.shape[1], _ITEMS_PER_CHUNK)
    threads = ThreadPoolExecutor(chosen_threads())
    try:
        with threadpool_limits(1):  # sums of several threads would depend on their number
            for done, _ in enumerate(threads.map(solve, starts), 1):
                progress(done, len(starts), "neighbours")
    finally:
        threads.shutdown(cancel_futures=True)  # after Ctrl-C the chunks in hand end, and no other begins
    return [_by_source(weight_E, support) for weight_E in weights]


class _Products:
    """The inner products of the columns of √D X: of all pairs at once, or of the neighbours of one item."""

    def __init__(self, matrix: csr_array, exponent: float) -> None:
        weighted = csr_array((user_weights(matrix, exponent), matrix.indices, matrix.indptr), shape=matrix.shape)
        self._gram_II: NDArray[np.float32] | None = None
        if matrix.shape[1] <= _MAX_DENSE_ITEMS:
            self._gram_II = (matrix.T @ weighted).toarray().astype(np.float32, copy=False)
        else:
            self._by_item, self._weighted = csr_array(matrix.T), csr_array(weighted.T)

    def of(self, chosen_S: NDArray[np.int32], item: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the products of the neighbours (S, S), and those with the item itself (S)."""
        if self._gram_II is not None:
            return self._gram_II[chosen_S[:, None], chosen_S], self._gram_II[chosen_S, item]
        own = self._by_item[np.append(chosen_S, item)]
        product = (own @ self._weighted[chosen_S].T).toarray().astype(np.float32, copy=False)
        return product[:-1], product[-1]


def _ridge(
    gram_SS: NDArray[np.float32], target_S: NDArray[np.float32], penalty_S: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the weights of one ridge regression."""
    gram_SS = gram_SS.copy()
    gram_SS.ravel()[:: len(gram_SS) + 1] += penalty_S
    _, weight_S, failed = lapack.sposv(gram_SS, target_S, lower=1, overwrite_a=1)
    assert not failed, "products with a positive penalty are positive definite"
    return np.asarray(weight_S, dtype=np.float32)


def _by_source(weight_E: NDArray[np.float32], support: csr_array) -> Neighbours:
    """Return the rows by item of the history, of weights by target."""
    rows = csr_array(csr_array((weight_E, support.indices, support.indptr), shape=support.shape).T)
    rows.sort_indices()
    if np.diff(rows.indptr).max(initial=0) > MAX_ROW:
        strength = csr_array((np.abs(rows.data), rows.indices, rows.indptr), shape=rows.shape)
        rows = select_entries(rows, largest_entries(strength, MAX_ROW))
    return Neighbours(rows.indptr.astype(np.int64), rows.indices.astype(np.int32), rows.data)


def choose_neighbours(
    matrix: csr_array, judge: Judge, progress: Progress = silent
) -> tuple[Neighbours, NeighbourFit, list[dict[str, Any]]]:
    """Return the rows that the judge rates best, their settings, and all trials: penalty first, recency last."""
    support, trials = nearest_neighbours(matrix), list[dict[str, Any]]()
    total = len(GRID) + len(USER_EXPONENTS) + len(RECENCIES) - 2

    def attempt(rows: Neighbours, settings: NeighbourFit) -> tuple[float, Neighbours, NeighbourFit]:
        rate = judge(rows, settings.recency)
        trials.append(settings.model_dump(exclude={"weight"}) | {"hit_rate": rate})
        progress(len(trials), total, "neighbours")
        return rate, rows, settings

    fitted = zip(fit_neighbours(matrix, support, GRID), GRID, strict=True)
    best = max((attempt(*one) for one in fitted), key=itemgetter(0))
    for exponent in USER_EXPONENTS[1:]:
        settings = best[2].model_copy(update={"user_exponent": exponent})
        (rows,) = fit_neighbours(matrix, support, [settings])
        best = max(best, attempt(rows, settings), key=itemgetter(0))
    for recency in RECENCIES[1:]:
        best = max(best, attempt(best[1], best[2].model_copy(update={"recency": recency})), key=itemgetter(0))
    return best[1], best[2], trials
