"""The fit of a linear model whose settings validation chooses: EASE by regularisation and normalisation, or ELSA.

The regularisation is chosen first, then the normalisation, which brings hits on sparse data and costs some on dense
data (``docs/methods/linear.md``), then the model: ELSA finds more where tastes are many for the rank. Both are fitted
on sets of items, where order counts for nothing; a sum over the history may still weigh them by recency
(``history.HistoryWeights.recency``), which is a choice at prediction, made last, and costs no further fit.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from multitudes.errors import MachineWarning, MissingError
from multitudes.linear.ease import COLUMNS, EIGENVECTORS, EaseSpectrum
from multitudes.linear.elsa import Elsa
from multitudes.linear.history import HistoryModel, LinearFactors, LinearFit
from multitudes.progress import Progress, silent
from multitudes.threads import available_bytes

GRID: Final = (100.0, 400.0, 1000.0, 3000.0)  # regularisations that validation chooses from
NORMALISATIONS: Final = (0.0, 0.25)  # exponents of EASE that validation chooses from
EXPONENTS: Final = (0.0, 0.1, 0.25)  # of ELSA
MODELS: Final = ("ease", "elsa")
RECENCIES: Final = (0.0, 0.25, 0.5)  # exponents of recency that validation chooses from
UNTRIED: Final = LinearFit()  # where nobody can be validated

Judge = Callable[[HistoryModel, float], float]  # returns the hit rate of a model with an exponent of recency


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


Attempt = Callable[..., Fit]  # judges factors, given the settings they were fitted with


def fit(
    matrix: csr_array,
    rank: int,
    judge: Judge | None = None,
    *,
    untried: LinearFit = UNTRIED,
    progress: Progress = silent,
) -> Fit:
    """Fit interactions (U, I + 1) with each setting, sum with each recency, and keep what the judge rates best.

    Without a judge the settings are ``untried``: those of an average data set, or of an earlier fit. ``progress`` is
    called after each fit.

    Raises:
        MissingError: the memory is too small for any model. Of one that is left out, a ``MachineWarning`` tells.
    """
    models = _models_within_memory(matrix, rank, MODELS if judge else (untried.model,))
    if judge is None:
        return Fit(_solve(matrix, rank, untried), untried, int(matrix.nnz))
    fits = {"ease": (len(GRID) + len(NORMALISATIONS) - 1, _ease_fits), "elsa": (len(EXPONENTS), _elsa_fits)}
    total = len(RECENCIES) - 1 + sum(fits[model][0] for model in models)
    trials: list[dict[str, Any]] = []

    def attempt(factors: LinearFactors, **settings: Any) -> Fit:  # noqa: ANN401
        chosen = LinearFit(**{"recency": RECENCIES[0]} | settings)
        trials.append(chosen.model_dump())
        progress(len(trials), total, ", ".join(f"{name} {value}" for name, value in trials[-1].items()))
        trials[-1]["hit_rate"] = rate = judge(factors, chosen.recency)
        return Fit(factors, chosen, int(matrix.nnz), rate, trials)

    best = max((found for model in models for found in fits[model][1](matrix, rank, attempt)), key=_rate)
    factors, chosen, *_ = best
    for recency in RECENCIES[1:]:
        best = max(best, attempt(factors, **chosen.model_dump() | {"recency": recency}), key=_rate)
    return best


def _ease_fits(matrix: csr_array, rank: int, attempt: Attempt) -> Iterator[Fit]:
    """Yield EASE with each regularisation, and then the best of these with each other normalisation."""
    rates, spectrum = dict[float, float](), EaseSpectrum(matrix, rank, NORMALISATIONS[0])  # serves every regularisation
    for ridge in GRID:
        found = attempt(spectrum.factors(ridge), regularisation=ridge, normalisation=NORMALISATIONS[0])
        rates[ridge] = _rate(found)
        yield found
        del found  # the next ones need the memory
    del spectrum
    ridge = max(rates, key=rates.__getitem__)
    for exponent in NORMALISATIONS[1:]:
        yield attempt(EaseSpectrum(matrix, rank, exponent).factors(ridge), regularisation=ridge, normalisation=exponent)


def _elsa_fits(matrix: csr_array, rank: int, attempt: Attempt) -> Iterator[Fit]:
    """Yield ELSA with each power of popularity."""
    elsa = Elsa(matrix, rank)
    for exponent in EXPONENTS:
        yield attempt(elsa.factors(exponent), model="elsa", regularisation=0.0, normalisation=exponent)


def _solve(matrix: csr_array, rank: int, settings: LinearFit) -> LinearFactors:
    if settings.model == "elsa":
        return Elsa(matrix, rank).factors(settings.normalisation)
    return EaseSpectrum(matrix, rank, settings.normalisation).factors(settings.regularisation)


def _models_within_memory(matrix: csr_array, rank: int, models: Sequence[str]) -> list[str]:
    """Return the models that fit into the available memory; raise if none does, before anything is computed."""
    items, events, available = matrix.shape[1] - 1, int(matrix.nnz), available_bytes()
    width = {"ease": 3 * max(EIGENVECTORS, 2 * rank) + 6 * COLUMNS + 4 * rank, "elsa": 3 * rank}  # all at once
    fitted = {"ease": 0, "elsa": 2 * rank * np.unique(matrix.indices).size}  # of the items with events alone
    needed = {model: 4 * (items * width[model] + fitted[model]) + 8 * events for model in models}
    if available is None or not (too_large := [model for model in models if needed[model] > available]):
        return list(models)
    model = too_large[-1]
    problem = (
        f"a linear model ({model.upper()}) of rank {rank} for {items:,} items and {events:,}"
        f" events needs {needed[model] / 1e9:.1f} GB of memory; {available / 1e9:.1f} GB are available"
    )
    if len(too_large) == len(models):
        raise MissingError(f"{problem}; use a larger machine, or leave out rare items")
    warnings.warn(f"{problem}, so it is not tried", MachineWarning, stacklevel=3)
    return [one for one in models if one not in too_large]


def _rate(found: Fit) -> float:
    return found.hit_rate or 0.0
