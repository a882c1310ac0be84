"""Power analysis before the start: how many users an effect needs, and which effect so many users detect."""

from bisect import bisect_left
from functools import partial
from math import inf, sqrt
from pathlib import Path
from typing import NamedTuple

from scipy.stats import norm

from multitudes.errors import UsageError
from multitudes.progress import Progress, silent
from multitudes_lab.experiments import confidence_sequence
from multitudes_lab.experiments.confidence_sequence import LEVEL
from multitudes_lab.experiments.config import ReadoutConfig
from multitudes_lab.experiments.lift import cuped_coefficients, delta_gradient, ratio_estimate
from multitudes_lab.experiments.moments import Moments
from multitudes_lab.experiments.users import experiment_engine, load_users, metric_moments

POWER = 0.8
_MAX_USERS = 10**12  # per arm; more than there are people


class MetricBaseline(NamedTuple):
    """A metric in the past: all that the sample size depends on."""

    mean: float  # per user; of a ratio: Σ numerator / Σ denominator
    sd: float  # standard deviation over users; of a ratio: of the linearized ratio (delta method)
    explained: float = 0.0  # ρ²: share of the variance that covariates remove


class PowerAnalysis(NamedTuple):
    """What an experiment with arms of equal size has to detect."""

    power: float = POWER
    comparisons: int = 1  # each has an error of 5 % / comparisons, as in Holm's first step
    tightest_at: int = confidence_sequence.TIGHTEST_AT

    @property
    def level(self) -> float:
        """Return the confidence level of each comparison."""
        return 1 - (1 - LEVEL) / self.comparisons


def metric_baseline(moments: Moments) -> MetricBaseline:
    """Return mean and deviation of a metric over its users, and the share of variance that covariates remove.

    Raises:
        UsageError: the metric is 0, or the same for all users.
    """
    if not moments.mean_V[0] or not moments.mean_V[1]:
        raise UsageError("the metric was 0 for all users; choose one that was not")
    gradient_2, theta_P = delta_gradient(moments), cuped_coefficients(moments)
    variance = float(gradient_2 @ moments.covariance_VV[:2, :2] @ gradient_2)
    if variance <= 0:
        raise UsageError("the metric was the same for all users; choose one that varies")
    removed = float(theta_P @ moments.covariance_VV[2:, :2] @ gradient_2)
    return MetricBaseline(ratio_estimate(moments), sqrt(variance), min(max(removed / variance, 0.0), 1.0))


def read_metric_baseline(
    exposures: Path, outcomes: Path, config: ReadoutConfig, progress: Progress = silent
) -> MetricBaseline:
    """Return the first metric of ``config`` over all users of the tables, whatever their arm.

    Arguments and errors are those of ``analyse_experiment``; it is a UsageError too if the metric does not vary.
    """
    with experiment_engine(config) as connection:
        users = load_users(connection, exposures, outcomes, config, progress)
        groups, _ = metric_moments(connection, "total", users, users.metrics[0], config)
        return metric_baseline(groups[None, None])


def minimum_detectable_effect(
    users: int, baseline: MetricBaseline, analysis: PowerAnalysis, *, any_look: bool = False
) -> float:
    """Return the smallest relative lift that ``users`` in each arm detect with the given power; inf if none.

    ``any_look`` takes the interval that holds at any number of looks, at the look with all users.
    """
    radius = (
        confidence_sequence.radius(2 * users, analysis.tightest_at, analysis.level)
        if any_look
        else float(norm.ppf((1 + analysis.level) / 2))
    )
    arm_error = baseline.sd * sqrt((1 - baseline.explained) / users) / abs(baseline.mean)
    square = ((radius + float(norm.ppf(analysis.power))) * arm_error) ** 2
    # The lift δ solves δ² = square · (1 + (1 + δ)²): a factor on an arm's mean is a factor on its deviation too.
    if square >= 1:
        return inf
    return (square + sqrt(square * (2 - square))) / (1 - square)


def sample_size(effect: float, baseline: MetricBaseline, analysis: PowerAnalysis, *, any_look: bool = False) -> int:
    """Return the number of users in each arm that detects a relative lift of ``effect``; at least 2.

    Raises:
        UsageError: no realistic number of users is enough.
    """
    detectable = partial(minimum_detectable_effect, baseline=baseline, analysis=analysis, any_look=any_look)
    if detectable(_MAX_USERS) > effect:
        raise UsageError(
            f"an effect of {effect:g} needs more than {_MAX_USERS:,} users in each arm; ask for a larger one"
        )
    # More users always detect smaller effects.
    return bisect_left(range(_MAX_USERS), True, lo=2, key=lambda n: detectable(n) <= effect)
