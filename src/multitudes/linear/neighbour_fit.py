"""The fit of neighbours: a ridge regression of each item on its nearest neighbours by item-kNN.

EASE inverts a matrix of all items; here each item is a small problem of its own, so the cost grows with the items, and
threads share them. To these weights may be added the strongest of a linear model of low rank (``linear.fit``): where
items are many for the events, too few of them occur together, and a model of all items knows more.

Legend: U users · I items · S neighbours of one item · E entries of the rows.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import csr_array, vstack
from threadpoolctl import threadpool_limits

from multitudes.linear import fit as linear
from multitudes.linear.history import HistoryModel, LinearFactors
from multitudes.linear.interactions import map_parts, user_weights
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
LOW_RANK_WEIGHTS: Final = (0.125, 0.25, 0.5, 1.0, 2.0)
RECENCIES: Final = (0.5, 0.25, 0.0, 0.75)
RANK: Final = 64  # of the linear model
MAX_LOW_RANK_ITEMS: Final = 100_000  # with interactions: the time of their strongest entries grows with the square
_MAX_DENSE_ITEMS: Final = 11_000  # up to so many, the products of all pairs are computed at once: half a gigabyte
_ITEMS_PER_CHUNK: Final = 256
_SCORES_PER_CHUNK: Final = 1 << 22  # of a linear model

Judge = Callable[[HistoryModel, float], float]  # the hit rate of a model with an exponent of recency


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
    return _rows(csr_array(csr_array((weight_E, support.indices, support.indptr), shape=support.shape).T))


def _rows(matrix: csr_array) -> Neighbours:
    """Return the rows of a matrix, of each its strongest entries."""
    matrix.sort_indices()
    if np.diff(matrix.indptr).max(initial=0) > MAX_ROW:
        strength = csr_array((np.abs(matrix.data), matrix.indices, matrix.indptr), shape=matrix.shape)
        matrix = select_entries(matrix, largest_entries(strength, MAX_ROW))
    return Neighbours(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data)


def strongest_entries(factors: LinearFactors) -> csr_array:
    """Return the largest positive weights of a linear model by item of the history, shape (I + 1, I + 1)."""
    used = np.flatnonzero(factors.is_scored())
    output_NR, items, n = factors.output_IR[used], len(factors.input_IR), neighbours_of_each(len(used))
    step = max(1, _SCORES_PER_CHUNK // max(len(used), 1))

    def chunk(start: int) -> csr_array:
        score_CN = factors.input_IR[start : start + step] @ output_NR.T
        own_C = np.arange(start, start + len(score_CN))
        place_C = np.searchsorted(used, own_C).clip(max=len(used) - 1)
        is_own_C = used[place_C] == own_C
        score_CN[np.flatnonzero(is_own_C), place_C[is_own_C]] = 0.0
        best_CS = np.argpartition(-score_CN, min(n, len(used)) - 1, axis=1)[:, :n]
        weight_CS = np.take_along_axis(score_CN, best_CS, axis=1).clip(min=0)
        offset = np.arange(0, best_CS.size + 1, best_CS.shape[1])
        found = csr_array((weight_CS.ravel(), used[best_CS.ravel()], offset), shape=(len(score_CN), items))
        found.eliminate_zeros()
        return found

    with threadpool_limits(1):  # sums of several threads would depend on their number
        return csr_array(vstack(list(map_parts(chunk, range(0, items, step))), format="csr"))


def _with_low_rank(rows: Neighbours, added: csr_array, weight: float) -> Neighbours:
    """Return rows to which the entries of a linear model are added, with a length relative to theirs."""
    length = np.linalg.norm(rows.weight_E) / max(float(np.linalg.norm(added.data)), 1e-30)
    return _rows(csr_array(rows.matrix() + added * np.float32(weight * length)))


def fit_rows(matrix: csr_array, settings: NeighbourFit, progress: Progress = silent) -> Neighbours:
    """Return the rows of interactions (U, I + 1) with settings that validation chose before."""
    (rows,) = fit_neighbours(matrix, nearest_neighbours(matrix), [settings], progress)
    if settings.low_rank is None:
        return rows
    factors = linear.fit(matrix, RANK, untried=settings.low_rank).factors
    return _with_low_rank(rows, strongest_entries(factors), settings.low_rank_weight)


class ChosenNeighbours(NamedTuple):
    """The rows that validation rates best, their settings, their rate, and all trials."""

    rows: Neighbours
    settings: NeighbourFit
    hit_rate: float | None  # None: nobody was validated
    trials: list[dict[str, Any]]


def choose_neighbours(matrix: csr_array, judge: Judge, progress: Progress = silent) -> ChosenNeighbours:
    """Return the rows that the judge rates best: chosen by penalty first, then by users, low rank and recency."""
    trials = list[dict[str, Any]]()

    def attempt(rows: Neighbours, settings: NeighbourFit) -> ChosenNeighbours:
        rate = judge(rows, settings.recency)
        trials.append(settings.model_dump(exclude={"weight"}) | {"hit_rate": rate})
        progress(len(trials), total, "neighbours")
        return ChosenNeighbours(rows, settings, rate, trials)

    def better(best: ChosenNeighbours, rows: Neighbours, **changes: Any) -> ChosenNeighbours:  # noqa: ANN401
        return max(best, attempt(rows, best.settings.model_copy(update=changes)), key=_rate)

    has_low_rank = np.unique(matrix.indices).size <= MAX_LOW_RANK_ITEMS
    total = len(GRID) + len(USER_EXPONENTS) + len(RECENCIES) - 2 + has_low_rank * len(LOW_RANK_WEIGHTS)
    support = nearest_neighbours(matrix)
    fitted = zip(fit_neighbours(matrix, support, GRID), GRID, strict=True)
    best = max((attempt(*one) for one in fitted), key=_rate)
    for exponent in USER_EXPONENTS[1:]:
        changed = best.settings.model_copy(update={"user_exponent": exponent})
        best = better(best, *fit_neighbours(matrix, support, [changed]), user_exponent=exponent)
    if has_low_rank:
        found = linear.fit(
            matrix, RANK, judge, progress=lambda *_: progress(len(trials), total, "neighbours, low rank")
        )
        low_rank = found.chosen.model_copy(update={"recency": 0.0})
        ridge, added = best.rows, strongest_entries(found.factors)
        for weight in LOW_RANK_WEIGHTS:
            rows = _with_low_rank(ridge, added, weight)
            best = better(best, rows, low_rank=low_rank, low_rank_weight=weight)
    for recency in RECENCIES[1:]:
        best = better(best, best.rows, recency=recency)
    return best


def _rate(found: ChosenNeighbours) -> float:
    return found.hit_rate or 0.0
