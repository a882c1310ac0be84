"""The fit of a linear model whose settings validation chooses: EASE by regularisation and normalisation, or ELSA.

The regularisation is chosen first, then the normalisation, which brings hits on sparse data and costs some on dense
data (``docs/methods/linear.md``), then the model: ELSA finds more where tastes are many for the rank. Both are fitted
on sets of items, where order counts for nothing; a sum over the history may still weigh them by recency
(``history.HistoryWeights.recency``), which is a choice at prediction, made last, and costs no further fit.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from multitudes.data.prepared import PreparedData
from multitudes.errors import DataError, MissingError
from multitudes.linear.ease import COLUMNS, EIGENVECTORS, EaseSpectrum
from multitudes.linear.elsa import Elsa
from multitudes.linear.history import LinearFactors, LinearFit
from multitudes.linear.interactions import interaction_matrix
from multitudes.progress import Progress, silent
from multitudes.threads import available_bytes

GRID: Final = (100.0, 400.0, 1000.0, 3000.0)  # regularisations that validation chooses from
NORMALISATIONS: Final = (0.0, 0.25)  # exponents of EASE that validation chooses from
EXPONENTS: Final = (0.0, 0.1, 0.25)  # of ELSA
RECENCIES: Final = (0.0, 0.25, 0.5)  # exponents of recency that validation chooses from
UNTRIED: Final = LinearFit()  # where nobody can be validated

Judge = Callable[[LinearFactors, float], float]  # returns the hit rate of factors with an exponent of recency


class Fit(NamedTuple):
    """Factors, their settings, and what the record says of them."""

    factors: LinearFactors
    chosen: LinearFit
    interactions: int
    hit_rate: float | None = None  # on validation; None: nobody was validated
    trials: Sequence[Mapping[str, Any]] = ()

    def record(self) -> dict[str, Any]:
        """Return what a run's record says of the fit."""
        return self.chosen.model_dump() | {
            "validation_hit_rate": self.hit_rate,
            "trials": self.trials,
            "items_with_vectors": int(self.factors.output_IR.any(axis=1).sum()),
            "width": self.factors.output_IR.shape[1],
        }


def fit(
    prepared: PreparedData,
    rank: int,
    judge: Judge | None = None,
    *,
    untried: LinearFit = UNTRIED,
    include_validation: bool = False,
    progress: Progress = silent,
) -> Fit:
    """Fit with each regularisation, normalisation and model, sum with each recency; keep what the judge rates best.

    Without a judge the settings are ``untried``: those of an average data set, or of an earlier fit. ``progress`` is
    called after each fit.

    Raises:
        DataError: no user has two items.
        MissingError: the memory is too small.
    """
    _check_memory(prepared, rank)
    matrix = interaction_matrix(prepared, include_validation=include_validation)
    if np.diff(matrix.indptr).max(initial=0) < 2:
        raise DataError(
            f"{prepared.path}: no user engaged with two items in training; expected items with users in common"
        )
    if judge is None:
        return Fit(_solve(matrix, rank, untried), untried, int(matrix.nnz))
    total = sum(map(len, (GRID, NORMALISATIONS, EXPONENTS, RECENCIES))) - 2
    trials: list[dict[str, Any]] = []

    def attempt(factors: LinearFactors, settings: LinearFit, **changes: str | float) -> Fit:
        settings = settings.model_copy(update=changes)
        trials.append(settings.model_dump(exclude={"weight"}))
        progress(len(trials), total, ", ".join(f"{name} {value}" for name, value in trials[-1].items()))
        trials[-1]["hit_rate"] = rate = judge(factors, settings.recency)
        return Fit(factors, settings, int(matrix.nnz), rate, trials)

    first = LinearFit(normalisation=NORMALISATIONS[0], recency=RECENCIES[0])
    spectrum = EaseSpectrum(matrix, rank, first.normalisation)  # serves every regularisation
    best = max((attempt(spectrum.factors(ridge), first, regularisation=ridge) for ridge in GRID), key=_rate)
    del spectrum  # the next one needs the memory
    ridge = best.chosen.regularisation
    for exponent in NORMALISATIONS[1:]:
        factors = EaseSpectrum(matrix, rank, exponent).factors(ridge)
        best = max(best, attempt(factors, best.chosen, normalisation=exponent), key=_rate)
    elsa = Elsa(matrix, rank)
    for exponent in EXPONENTS:
        found = attempt(elsa.factors(exponent), first, model="elsa", regularisation=0.0, normalisation=exponent)
        best = max(best, found, key=_rate)
    factors, chosen, *_ = best
    for recency in RECENCIES[1:]:
        best = max(best, attempt(factors, chosen, recency=recency), key=_rate)
    return best


def _solve(matrix: csr_array, rank: int, settings: LinearFit) -> LinearFactors:
    if settings.model == "elsa":
        return Elsa(matrix, rank).factors(settings.normalisation)
    return EaseSpectrum(matrix, rank, settings.normalisation).factors(settings.regularisation)


def _check_memory(prepared: PreparedData, rank: int) -> None:
    """Reject a fit that would not fit into the available memory, before anything is computed."""
    items, events, available = prepared.n_items, len(prepared.event_item), available_bytes()
    bases, products = 3 * max(EIGENVECTORS, 2 * rank), 6 * COLUMNS
    needed = 4 * items * (bases + products + 4 * rank) + 8 * events  # two pairs of factors, and the interactions
    if available is not None and needed > available:
        raise MissingError(
            f"{prepared.path}: a linear model of rank {rank} for {items:,} items and {events:,} events needs"
            f" {needed / 1e9:.1f} GB of memory; {available / 1e9:.1f} GB are available; use a larger machine, or leave"
            " out rare items"
        )


def _rate(found: Fit) -> float:
    return found.hit_rate or 0.0
