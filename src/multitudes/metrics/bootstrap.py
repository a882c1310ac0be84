"""Bootstrap over users, and over users and training seeds: intervals of ratios of sums and of their differences.

Legend: B users · M measures or methods · R resamples · S seeds.

Every figure of an evaluation is a ratio of two sums over users: hits / targets, the sum of recall / users, hits in the
tail / targets in the tail. One set of resampled users serves all measures, so the difference of two measures is paired:
within a resample both see the same users.

**Users and seeds.** The model of every seed is tested on the same users. So the figure of one seed is the sum of the
method's own rate, the effect of these users, the effect of this seed's model, and their interaction. A bootstrap over
users of the mean over seeds covers users and interaction but not the seeds; for these, noise is added to its draws.

Resampling three seeds with replacement, like users, is not enough: it understates their variance by a third and has no
tails. The noise added here is Student's t with the variance of the seeds (a fiducial draw, as in the Behrens–Fisher
interval), minus the interaction, which the bootstrap over users already contains.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]
# method: each seed trains its own model. control: the models of a method, queried differently. baseline: nothing is
# trained, so another seed changes nothing.
Role = Literal["method", "control", "baseline"]

_LEVEL = 0.95  # of the intervals
_RESAMPLES_PER_CHUNK = 64  # bounds the memory of the weights to 64 rows of B


class Interval(NamedTuple):
    """A figure with its percentile interval; NaN if undefined."""

    mean: float
    low: float
    high: float


class Estimates(NamedTuple):
    """M ratios on all users, and on each resample of users."""

    value_M: NDArray[np.float64]
    draw_RM: NDArray[np.float64]

    def interval(self, measure: int) -> Interval:
        """Return the percentile interval of one measure."""
        return _interval(self.value_M[measure], self.draw_RM[:, measure])

    def difference(self, measure: int, reference: int) -> Interval:
        """Return the percentile interval of ``measure`` minus ``reference``, paired by user."""
        draws = self.draw_RM[:, measure] - self.draw_RM[:, reference]
        return _interval(self.value_M[measure] - self.value_M[reference], draws)

    def relative(self, measure: int, reference: int) -> Interval:
        """Return the percentile interval of ``measure`` / ``reference`` − 1, paired by user."""
        draws = ratio_or_nan(self.draw_RM[:, measure], self.draw_RM[:, reference]) - 1
        value = ratio_or_nan(self.value_M[measure : measure + 1], self.value_M[reference : reference + 1])[0] - 1
        return _interval(float(value), draws)


def bootstrap_ratios(
    numerator_BM: NDArray[np.float64],
    denominator_BM: NDArray[np.float64],
    resamples: int,
    generator: np.random.Generator,
) -> Estimates:
    """Return Σ numerator / Σ denominator of every measure, on all users and on ``resamples`` resamples of them.

    A ratio whose denominator sums to zero is NaN; such draws are left out of the interval.
    """
    n_measures = numerator_BM.shape[1]
    stacked = np.concatenate([numerator_BM, denominator_BM], axis=1)
    sums_RM = bootstrap_sums(stacked, resamples, generator)
    total = stacked.sum(axis=0)
    return Estimates(
        value_M=ratio_or_nan(total[:n_measures], total[n_measures:]),
        draw_RM=ratio_or_nan(sums_RM[:, :n_measures], sums_RM[:, n_measures:]),
    )


def bootstrap_sums(
    value_BM: NDArray[np.float64], resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return the sums of the columns over ``resamples`` draws of B users with replacement, shape (R, M)."""
    n_users = len(value_BM)
    sums_RM = np.zeros((resamples, value_BM.shape[1]))
    if n_users == 0:
        return sums_RM
    for start in range(0, resamples, _RESAMPLES_PER_CHUNK):
        n_rows = min(_RESAMPLES_PER_CHUNK, resamples - start)
        drawn_RB = generator.integers(n_users, size=(n_rows, n_users)) + n_users * np.arange(n_rows)[:, None]
        # How often each user was drawn, as a matrix: the sums are then one matrix product.
        times = np.bincount(drawn_RB.ravel(), minlength=n_rows * n_users).reshape(n_rows, n_users)
        sums_RM[start : start + n_rows] = times.astype(np.float64) @ value_BM
    return sums_RM


def p_value(draw_R: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of the hypothesis zero: below 5 % if the 95 % interval of the draws excludes zero.

    It is at least 2 / (R + 1), since R resamples cannot show more. NaN if no draw is defined.
    """
    defined = draw_R[np.isfinite(draw_R)]
    if len(defined) == 0:
        return float("nan")
    beyond = min(np.count_nonzero(defined <= 0), np.count_nonzero(defined >= 0))
    return min(1.0, 2 * (beyond + 1) / (len(defined) + 1))


def _interval(value: float, draws: NDArray[np.float64]) -> Interval:
    defined = draws[np.isfinite(draws)]
    if len(defined) == 0 or not np.isfinite(value):
        return Interval(float(value), float("nan"), float("nan"))
    low, high = np.quantile(defined, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(float(value), float(low), float(high))


def ratio_or_nan(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[np.float64]:
    """Return the ratios element by element; NaN where the denominator is zero."""
    ratio = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=ratio, where=denominator != 0)
    return ratio


class SeedOutcomes(NamedTuple):
    """The outcome of each user with each seed of one method."""

    value_SB: Column
    role: Role = "method"


def bootstrap_users_and_seeds(
    methods: Sequence[SeedOutcomes],
    weight_B: Column,
    resamples: int,
    users: np.random.Generator,
    seeds: np.random.Generator,
) -> Estimates:
    """Return Σ value / Σ weight of each method, the mean over its seeds, with draws over users and seeds.

    The number of seeds may differ; with one seed each, the draws vary over users alone. The weights are the targets for
    a hit rate, and ones for a mean over users. ``users`` and ``seeds`` are the random streams of the resamples and of
    the noise; equal streams pair figures that are computed separately.
    """
    mean_BM = np.stack([method.value_SB.mean(axis=0) for method in methods], axis=1)
    weight_BM = np.broadcast_to(weight_B[:, None], mean_BM.shape)
    estimates = bootstrap_ratios(mean_BM, weight_BM, resamples, users)
    return Estimates(estimates.value_M, estimates.draw_RM + _seed_noise(methods, weight_B, resamples, seeds))


def rate_per_seed(value_SB: Column, weight_B: Column) -> Column:
    """Return the figure of each seed, shape (S,); NaN if the weights sum to zero."""
    total = weight_B.sum()
    return value_SB.sum(axis=1) / total if total else np.full(len(value_SB), np.nan)


def seed_variance(value_SB: Column, weight_B: Column) -> float:
    """Return the unbiased estimate of the variance of a seed's figure beyond the interaction; it may be negative.

    The mean squares of a two-way layout with one outcome in each cell: between seeds, less the interaction. NaN for
    one seed.
    """
    n_seeds, total = len(value_SB), weight_B.sum()
    if n_seeds < 2 or not total:
        return float("nan")
    rate_S = rate_per_seed(value_SB, weight_B)
    own_S1 = (rate_S - rate_S.mean())[:, None]
    interaction_SB = value_SB - value_SB.mean(axis=0) - own_S1 * weight_B
    interaction_variance = float((interaction_SB**2).sum() / ((n_seeds - 1) * total**2))
    return float(rate_S.var(ddof=1)) - interaction_variance


def _seed_noise(
    methods: Sequence[SeedOutcomes], weight_B: Column, resamples: int, seeds: np.random.Generator
) -> Column:
    """Return the error of the mean over seeds, shape (R, M); zero for methods that no seed changes.

    Two or three seeds tell little about their variance, and are often similar by luck. So a method's variance is its
    own or the mean over the methods, whichever is larger, with the degrees of freedom of all methods.
    """
    own_M = np.array([seed_variance(method.value_SB, weight_B) for method in methods])
    n_seeds_M = np.array([len(method.value_SB) for method in methods])
    # Another seed changes no baseline, and no method whose seeds all give equal outcomes.
    may_vary = [len(method.value_SB) < 2 or (method.value_SB != method.value_SB[0]).any() for method in methods]
    varies_M = np.array([method.role != "baseline" for method in methods]) & may_vary
    models_M = varies_M & np.array([method.role == "method" for method in methods])
    freedom_M = np.where(models_M & np.isfinite(own_M), n_seeds_M - 1, 0)
    freedom = int(freedom_M.sum())
    if freedom == 0:
        return np.zeros((resamples, len(methods)))
    pooled = max(0.0, float(np.nansum(own_M * freedom_M)) / freedom)
    variance_M = np.where(varies_M, np.fmax(own_M, pooled) / n_seeds_M, 0.0)
    return seeds.standard_t(freedom, size=(resamples, len(methods))) * np.sqrt(variance_M)
