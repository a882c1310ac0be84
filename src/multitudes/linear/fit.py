"""Fit truncated EASE. Validation chooses its settings, and how much recent items weigh in a user's sum.

The regularisation is chosen first, then the normalisation, which brings hits on sparse data and costs some on dense
data (``docs/methods/linear.md``).

EASE is fitted on sets of items, where order counts for nothing; a sum over the history may still weigh them by recency
(``history.HistoryWeights.recency``), which is a choice at prediction and costs no further fit.

A large catalogue is cut to its most popular items.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multitudes.data.prepared import PreparedData
from multitudes.linear import ease
from multitudes.linear.ease import ease_factors
from multitudes.linear.factors import LinearFactors
from multitudes.linear.interactions import interaction_matrix
from multitudes.progress import Progress, silent

GRID: Final = (100.0, 400.0, 1000.0, 3000.0)  # regularisations that validation chooses from
NORMALISATIONS: Final = (0.0, 0.25)  # exponents that validation chooses from
RECENCIES: Final = (0.0, 0.25, 0.5)  # exponents of recency that validation chooses from
MAX_TUNED_ITEMS: Final = 8_000  # a regularisation is tried on so many: the cost is cubic in the items
_UNTUNED: Final = (400.0, 0.0, 0.0)  # settings in the order of ``Trial`` where nobody can be validated

Judge = Callable[[LinearFactors, float], float]  # returns the hit rate of factors with an exponent of recency


class Trial(NamedTuple):
    """Settings that were tried."""

    regularisation: float
    normalisation: float
    recency: float
    hit_rate: float | None  # on validation; None: nobody was validated


class Fit(NamedTuple):
    """The chosen factors, and what the record says of them."""

    factors: LinearFactors
    chosen: Trial
    trials: list[Trial]
    fitted_items: int
    is_cut: bool  # items with interactions were left out
    interactions: int

    def record(self) -> dict[str, Any]:
        """Return what a run's record says of the fit."""
        return {
            "regularisation": self.chosen.regularisation,
            "normalisation": self.chosen.normalisation,
            "recency": self.chosen.recency,
            "validation_hit_rate": self.chosen.hit_rate,
            "trials": [trial._asdict() for trial in self.trials],
            "fitted_items": self.fitted_items,
            "is_cut": self.is_cut,
            "items_with_vectors": int(self.factors.output_IR.any(axis=1).sum()),
            "width": self.factors.output_IR.shape[1],
        }


def fit(
    prepared: PreparedData,
    rank: int,
    *,
    regularisation: float | None = None,
    normalisation: float | None = None,
    recency: float | None = None,
    judge: Judge | None = None,
    include_validation: bool = False,
    progress: Progress = silent,
) -> Fit:
    """Fit with each regularisation, then each normalisation, and keep what the judge rates best.

    On more than ``MAX_TUNED_ITEMS`` items and users, the most popular items choose, and all are fitted once.

    Args:
        prepared: the prepared data.
        rank: R, width of the vectors.
        regularisation: ridge of EASE; None: chosen from ``GRID``.
        normalisation: exponent of the interactions of user and item; None: chosen from ``NORMALISATIONS``.
        recency: exponent of recency in the sums; None: chosen from ``RECENCIES``.
        judge: rates what is tried; None: nobody can, and settings that are not given are those of an average data set.
        include_validation: fit on validation events too.
        progress: called after each fit.

    Returns:
        Factors of all items, and how they were chosen.

    Raises:
        DataError: no user has two items.
    """
    matrix = interaction_matrix(prepared, include_validation=include_validation)
    items = fitted_items(matrix)
    grids = [GRID, NORMALISATIONS, RECENCIES] if judge else [(setting,) for setting in _UNTUNED]
    given = (regularisation, normalisation, recency)
    ridges, exponents, recencies = (
        grid if value is None else (value,) for grid, value in zip(grids, given, strict=True)
    )
    fits = len(ridges) + len(exponents) - 1
    tried_items = popular_items(matrix, items, MAX_TUNED_ITEMS) if fits > 1 else items
    trials: list[Trial] = []

    def attempt(ridge: float, exponent: float) -> tuple[LinearFactors, Trial]:
        """Return the factors, and their trial with the best recency."""
        progress(len(trials) // len(recencies), fits, f"regularisation {ridge:g}, normalisation {exponent:g}")
        factors = _fit_items(matrix, tried_items, ridge, rank, exponent)
        tried = [Trial(ridge, exponent, one, judge(factors, one) if judge else None) for one in recencies]
        trials.extend(tried)
        return factors, max(tried, key=_rate)

    best = attempt(ridges[0], exponents[0])
    for ridge in ridges[1:]:
        best = max(best, attempt(ridge, exponents[0]), key=lambda found: _rate(found[1]))
    for exponent in exponents[1:]:
        best = max(best, attempt(best[1].regularisation, exponent), key=lambda found: _rate(found[1]))
    factors, chosen = best
    settings = f"regularisation {chosen.regularisation:g}, normalisation {chosen.normalisation:g}"
    if len(tried_items) < len(items):
        progress(fits - 1, fits, f"{settings}, on all items")
        factors = _fit_items(matrix, items, chosen.regularisation, rank, chosen.normalisation)
        chosen = chosen._replace(hit_rate=judge(factors, chosen.recency) if judge else None)
        trials.append(chosen)
    progress(fits, fits, settings)
    is_cut = len(items) < len(np.unique(matrix.indices))
    return Fit(factors, chosen, trials, len(items), is_cut, int(matrix.nnz))


def _rate(trial: Trial) -> float:
    return trial.hit_rate or 0.0


def fitted_items(matrix: csr_array) -> NDArray[np.int64]:
    """Return the items that are fitted, ascending: all, or the most popular ``ease.MAX_ITEMS`` where EASE needs that.

    Args:
        matrix: interactions, shape (U, I + 1).
    """
    return popular_items(matrix, np.unique(matrix.indices), ease.MAX_ITEMS)


def popular_items(matrix: csr_array, items: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return the ``n`` most popular of some items, ascending; all of them where they, or the users, are at most ``n``.

    Args:
        matrix: interactions, shape (U, I + 1).
        items: item numbers, ascending.
        n: items, or users, up to which EASE is solved without a choice.
    """
    if min(len(items), int((np.diff(matrix.indptr) > 0).sum())) <= n:
        return items
    count_I = np.bincount(matrix.indices, minlength=matrix.shape[1])
    return np.sort(items[np.argsort(-count_I[items], kind="stable")[:n]])


def _fit_items(
    matrix: csr_array, items: NDArray[np.int64], regularisation: float, rank: int, normalisation: float
) -> LinearFactors:
    """Return factors of all items (I + 1, R), of which those outside of ``items`` are zero."""
    columns = np.concatenate([[0], items])  # column 0, the unknown item, is empty
    fitted = ease_factors(csr_array(matrix[:, columns]), regularisation, rank, normalisation)
    whole = LinearFactors(*(np.zeros((matrix.shape[1], part.shape[1]), dtype=np.float32) for part in fitted))
    for table, part in zip(whole, fitted, strict=True):
        table[columns] = part
    return whole
