"""Bootstrap over users: percentile intervals of ratios of sums, and of paired differences between them.

Legend: B users · M measures · R resamples.

Every figure of an evaluation is a ratio of two sums over users: hits / targets, the sum of recall / users, hits in the
tail / targets in the tail. One set of resampled users serves all measures at once, so the difference of two measures is
paired by construction: within a resample both see the same users.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_RESAMPLES_AT_ONCE = 64  # bounds the memory of the weights to 64 rows of B


class Interval(NamedTuple):
    """A figure with its percentile interval; NaN where it is not defined."""

    mean: float
    low: float
    high: float


class Estimates(NamedTuple):
    """M ratios on all users, and on each resample of users."""

    value_M: NDArray[np.float64]
    draw_RM: NDArray[np.float64]

    def interval(self, measure: int, level: float = 0.95) -> Interval:
        """Return the percentile interval of one measure."""
        return _interval(self.value_M[measure], self.draw_RM[:, measure], level)

    def difference(self, measure: int, reference: int, level: float = 0.95) -> Interval:
        """Return the percentile interval of ``measure`` minus ``reference``, paired by user."""
        draws = self.draw_RM[:, measure] - self.draw_RM[:, reference]
        return _interval(self.value_M[measure] - self.value_M[reference], draws, level)

    def relative(self, measure: int, reference: int, level: float = 0.95) -> Interval:
        """Return the percentile interval of ``measure`` / ``reference`` − 1, paired by user."""
        draws = _divided(self.draw_RM[:, measure], self.draw_RM[:, reference]) - 1
        value = _divided(self.value_M[measure : measure + 1], self.value_M[reference : reference + 1])[0] - 1
        return _interval(float(value), draws, level)


def ratios(
    numerator_BM: NDArray[np.float64],
    denominator_BM: NDArray[np.float64],
    resamples: int,
    generator: np.random.Generator,
) -> Estimates:
    """Return Σ numerator / Σ denominator of every measure, on all users and on ``resamples`` resamples of them.

    A ratio whose denominator sums to zero is NaN; in resamples such draws are left out of the interval.
    """
    n_measures = numerator_BM.shape[1]
    stacked = np.concatenate([numerator_BM, denominator_BM], axis=1)
    sums_RM = resampled_sums(stacked, resamples, generator)
    total = stacked.sum(axis=0)
    return Estimates(
        value_M=_divided(total[:n_measures], total[n_measures:]),
        draw_RM=_divided(sums_RM[:, :n_measures], sums_RM[:, n_measures:]),
    )


def resampled_sums(
    value_BM: NDArray[np.float64], resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return the sums of the columns over ``resamples`` draws of B users with replacement, shape (R, M)."""
    n_users = len(value_BM)
    sums_RM = np.zeros((resamples, value_BM.shape[1]))
    if n_users == 0:
        return sums_RM
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):
        rows = range(start, min(start + _RESAMPLES_AT_ONCE, resamples))
        # How often each user was drawn; as a matrix, so that the sums are one product.
        sums_RM[rows.start : rows.stop] = _multiplicity(len(rows), n_users, generator) @ value_BM
    return sums_RM


def _multiplicity(n_rows: int, n_users: int, generator: np.random.Generator) -> NDArray[np.float64]:
    drawn_RB = generator.integers(n_users, size=(n_rows, n_users)) + n_users * np.arange(n_rows)[:, None]
    times = np.bincount(drawn_RB.ravel(), minlength=n_rows * n_users)
    return times.reshape(n_rows, n_users).astype(np.float64)


def p_value(draw_R: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of «this is zero»: below 5 % where the 95 % interval of the draws excludes zero.

    It cannot be below 2 / (R + 1): the number of resamples bounds what they can show. NaN where nothing is defined.
    """
    defined = draw_R[np.isfinite(draw_R)]
    if len(defined) == 0:
        return float("nan")
    beyond = min(np.count_nonzero(defined <= 0), np.count_nonzero(defined >= 0))
    return min(1.0, 2 * (beyond + 1) / (len(defined) + 1))


def _interval(value: float, draws: NDArray[np.float64], level: float) -> Interval:
    defined = draws[np.isfinite(draws)]
    if len(defined) == 0 or not np.isfinite(value):
        return Interval(float(value), float("nan"), float("nan"))
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))


def _divided(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=ratio, where=denominator != 0)
    return ratio
