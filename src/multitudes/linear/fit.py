"""Fit truncated EASE. Validation chooses its settings, and how much recent items weigh in a user's sum.

The regularisation is chosen first, then the normalisation, which brings hits on sparse data and costs some on dense
data (``docs/methods/linear.md``).

EASE is fitted on sets of items, where order counts for nothing; a sum over the history may still weigh them by recency
(``history.HistoryWeights.recency``), which is a choice at prediction, made last, and costs no further fit.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from multitudes.data.prepared import PreparedData
from multitudes.linear.ease import EaseSpectrum
from multitudes.linear.history import LinearFactors, LinearFit
from multitudes.linear.interactions import interaction_matrix
from multitudes.progress import Progress, silent

GRID: Final = (100.0, 400.0, 1000.0, 3000.0)  # regularisations that validation chooses from
NORMALISATIONS: Final = (0.0, 0.25)  # exponents that validation chooses from
RECENCIES: Final = (0.0, 0.25, 0.5)  # exponents of recency that validation chooses from
UNTRIED: Final = LinearFit(regularisation=400.0, normalisation=0.0)  # settings where nobody can be validated

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
    interactions: int

    def record(self) -> dict[str, Any]:
        """Return what a run's record says of the fit."""
        return {
            "regularisation": self.chosen.regularisation,
            "normalisation": self.chosen.normalisation,
            "recency": self.chosen.recency,
            "validation_hit_rate": self.chosen.hit_rate,
            "trials": [trial._asdict() for trial in self.trials],
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
    """Fit with each regularisation, then each normalisation, sum with each recency; keep what the judge rates best.

    Without a judge the settings are ``untried``: those of an average data set, or of an earlier fit. ``progress`` is
    called after each fit.

    Raises:
        DataError: no user has two items.
    """
    matrix = interaction_matrix(prepared, include_validation=include_validation)
    ridges, exponents, recencies = (
        (GRID, NORMALISATIONS, RECENCIES)
        if judge
        else ((untried.regularisation,), (untried.normalisation,), (untried.recency,))
    )
    total = len(ridges) + len(exponents) + len(recencies) - 2
    trials: list[Trial] = []

    def attempt(factors: LinearFactors, ridge: float, exponent: float, recency: float) -> tuple[LinearFactors, Trial]:
        """Return the factors and their trial."""
        trials.append(Trial(ridge, exponent, recency, judge(factors, recency) if judge else None))
        progress(len(trials), total, f"regularisation {ridge:g}, normalisation {exponent:g}, recency {recency:g}")
        return factors, trials[-1]

    spectrum = EaseSpectrum(matrix, rank, exponents[0])  # serves every regularisation
    best = max((attempt(spectrum.factors(ridge), ridge, exponents[0], recencies[0]) for ridge in ridges), key=_rate)
    del spectrum  # the next one needs the memory
    ridge = best[1].regularisation
    for exponent in exponents[1:]:
        factors = EaseSpectrum(matrix, rank, exponent).factors(ridge)
        best = max(best, attempt(factors, ridge, exponent, recencies[0]), key=_rate)
    factors, exponent = best[0], best[1].normalisation
    for one in recencies[1:]:
        best = max(best, attempt(factors, ridge, exponent, one), key=_rate)
    return Fit(*best, trials, int(matrix.nnz))


def _rate(found: tuple[LinearFactors, Trial]) -> float:
    return found[1].hit_rate or 0.0
