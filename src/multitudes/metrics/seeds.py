"""What another training seed would change: draws over users *and* seeds.

Legend: S seeds · B users · M methods · R resamples.

Every seed's model meets the same users. So the figure of one seed is the method's own rate, plus what these users are,
plus what this seed's model is, plus how this model happens to meet these users (the interaction). A bootstrap over
users of the mean over seeds covers users and interaction, not the seeds: for these, noise is added to its draws.

Resampling three seeds with replacement, as one resamples users, is not enough: it understates their variance by a third
and knows no tails. The noise added here is Student's t with the seeds' own variance (a fiducial draw, as in the
Behrens–Fisher interval), from which the interaction is taken off, since the users' bootstrap has it already.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.metrics.bootstrap import Estimates, ratios

Column = NDArray[np.float64]
# method: each seed is a model of its own. control: the models of a method, asked otherwise. baseline: nothing is
# trained, so another seed changes nothing.
Role = Literal["method", "control", "baseline"]


class Outcomes(NamedTuple):
    """What each user got from each seed of one method."""

    value_SB: Column
    role: Role = "method"


def crossed(
    methods: Sequence[Outcomes],
    weight_B: Column,
    resamples: int,
    users: np.random.Generator,
    seeds: np.random.Generator,
) -> Estimates:
    """Return Σ value / Σ weight of each method, the mean over its seeds, with draws over users and seeds.

    Args:
        methods: M of them; the number of seeds may differ. Methods of one seed each say nothing of other seeds.
        weight_B: what the outcomes are a share of: targets for a hit rate, ones for a mean over users.
        resamples: R.
        users: stream of the resamples of users; an equal stream pairs figures that are made apart.
        seeds: stream of the noise of the seeds.
    """
    mean_BM = np.stack([method.value_SB.mean(axis=0) for method in methods], axis=1)
    weight_BM = np.broadcast_to(weight_B[:, None], mean_BM.shape)
    estimates = ratios(mean_BM, weight_BM, resamples, users)
    return Estimates(estimates.value_M, estimates.draw_RM + _noise(methods, weight_B, resamples, seeds))


def per_seed(value_SB: Column, weight_B: Column) -> Column:
    """Return the figure of each seed, shape (S,); NaN where the weights sum to zero."""
    total = weight_B.sum()
    return value_SB.sum(axis=1) / total if total else np.full(len(value_SB), np.nan)


def variance_of_seeds(value_SB: Column, weight_B: Column) -> float:
    """Return the unbiased estimate of the variance of a seed's figure beyond the interaction; it may be negative.

    The mean squares of a two-way layout with one outcome in each cell: between seeds, less the interaction. NaN for
    one seed.
    """
    n_seeds, total = len(value_SB), weight_B.sum()
    if n_seeds < 2 or not total:
        return float("nan")
    rate_S = per_seed(value_SB, weight_B)
    own_S1 = (rate_S - rate_S.mean())[:, None]
    interaction_SB = value_SB - value_SB.mean(axis=0) - own_S1 * weight_B
    of_interaction = float((interaction_SB**2).sum() / ((n_seeds - 1) * total**2))
    return float(rate_S.var(ddof=1)) - of_interaction


def _noise(methods: Sequence[Outcomes], weight_B: Column, resamples: int, seeds: np.random.Generator) -> Column:
    """Return what the mean over other seeds could be off by, shape (R, M); zero for what no seed changes.

    Two or three seeds say little about their variance, and often look alike by luck. So a method's variance is its own
    or the mean over the methods, whichever is larger, with the degrees of freedom of all methods.
    """
    own_M = np.array([variance_of_seeds(method.value_SB, weight_B) for method in methods])
    n_seeds_M = np.array([len(method.value_SB) for method in methods])
    by_chance_M = np.array([_by_chance(method) for method in methods])
    models_M = by_chance_M & np.array([method.role == "method" for method in methods])
    freedom_M = np.where(models_M & np.isfinite(own_M), n_seeds_M - 1, 0)
    freedom = int(freedom_M.sum())
    if freedom == 0:
        return np.zeros((resamples, len(methods)))
    pooled = max(0.0, float(np.nansum(own_M * freedom_M)) / freedom)
    variance_M = np.where(by_chance_M, np.fmax(own_M, pooled) / n_seeds_M, 0.0)
    return seeds.standard_t(freedom, size=(resamples, len(methods))) * np.sqrt(variance_M)


def _by_chance(method: Outcomes) -> bool:
    """Return False for what another seed would not change: baselines, and methods whose seeds all answer alike."""
    alike = len(method.value_SB) > 1 and bool((method.value_SB == method.value_SB[0]).all())
    return method.role != "baseline" and not alike
