"""Before the start: how many users an effect needs, and which effect so many users show."""

from math import inf, sqrt
from pathlib import Path
from typing import NamedTuple

from scipy.stats import norm

from multitudes.errors import UsageError
from multitudes.experiments import confidence_sequence
from multitudes.experiments.config import ReadoutConfig
from multitudes.experiments.lift import LEVEL, cuped_coefficients, delta_gradient, ratio_estimate
from multitudes.experiments.moments import Moments, group_moments, metric_variables
from multitudes.experiments.users import experiment_engine, load_users, winsorise
from multitudes.progress import Progress, silent

POWER = 0.8
_MAX_USERS = 10**12  # users per arm: more than there are people


class MetricBaseline(NamedTuple):
    """A metric as it was: all that the size of an experiment depends on."""

    mean: float  # per user; of a ratio: Σ numerator / Σ denominator
    sd: float  # over users; of a ratio: of what a user moves it by, times the number of users (delta method)
    explained: float = 0.0  # ρ²: the share of the variance that covariates take off


class PowerAnalysis(NamedTuple):
    """What is asked of an experiment with arms of equal size."""

    power: float = POWER
    comparisons: int = 1  # of each of so many the error is 5 % / comparisons, as Holm's first step has it
    tightest_at: int = confidence_sequence.TIGHTEST_AT

    @property
    def level(self) -> float:
        """Return the level of each comparison."""
        return 1 - (1 - LEVEL) / self.comparisons


def metric_baseline(moments: Moments) -> MetricBaseline:
    """Return what the users of the past say: mean, spread, and what the covariates take off.

    Raises:
        UsageError: the metric was 0, or the same for everybody.
    """
    if not moments.mean_V[0] or not moments.mean_V[1]:
        raise UsageError("the metric was 0 for everybody; choose one of which there is something to compare")
    slope_2, theta_P = delta_gradient(moments), cuped_coefficients(moments)
    variance = float(slope_2 @ moments.covariance_VV[:2, :2] @ slope_2)
    if variance <= 0:
        raise UsageError("the metric was the same for everybody; choose one that varies")
    taken = float(theta_P @ moments.covariance_VV[2:, :2] @ slope_2)
    return MetricBaseline(ratio_estimate(moments), sqrt(variance), min(max(taken / variance, 0.0), 1.0))


def read_metric_baseline(
    exposures: Path, outcomes: Path, config: ReadoutConfig, progress: Progress = silent
) -> MetricBaseline:
    """Return the first metric of ``config`` as it was for everybody in the tables, whatever their arm.

    Raises:
        UsageError: there is no such table or metric, or it says nothing.
        DataError: a table cannot be used.
    """
    with experiment_engine(config) as connection:
        users = load_users(connection, exposures, outcomes, config, progress)
        before = config.cuped and users.sums.covariate_s > 0
        of, _ = winsorise(
            connection, "total", metric_variables(users.metrics[0], users.names, 0, before=before), config.winsorise
        )
        return metric_baseline(group_moments(connection, "total", of)[None, None])


def minimum_detectable_effect(
    users: int, baseline: MetricBaseline, analysis: PowerAnalysis, *, any_look: bool = False
) -> float:
    """Return the relative lift that ``users`` in each arm show with the asked power; infinite where none is shown.

    Args:
        users: of each arm.
        baseline: the metric.
        analysis: power, comparisons.
        any_look: by the interval that holds at any look, looked at when all users are there.
    """
    radius = (
        confidence_sequence.radius(2 * users, analysis.tightest_at, analysis.level)
        if any_look
        else float(norm.ppf((1 + analysis.level) / 2))
    )
    of_one = baseline.sd * sqrt((1 - baseline.explained) / users) / abs(baseline.mean)
    square = ((radius + float(norm.ppf(analysis.power))) * of_one) ** 2
    # The lift δ solves δ² = square · (1 + (1 + δ)²): what multiplies the mean of an arm multiplies its deviation too.
    if square >= 1:
        return inf
    return (square + sqrt(square * (2 - square))) / (1 - square)


def sample_size(effect: float, baseline: MetricBaseline, analysis: PowerAnalysis, *, any_look: bool = False) -> int:
    """Return how many users in each arm show a relative lift of ``effect`` with the asked power, at least 2.

    Raises:
        UsageError: no number of people is enough.
    """
    if minimum_detectable_effect(_MAX_USERS, baseline, analysis, any_look=any_look) > effect:
        raise UsageError(
            f"an effect of {effect:g} needs more than {_MAX_USERS:,} users in each arm; ask for a larger one"
        )
    # More users always show smaller effects, so halve until it is found.
    low, high = 1, _MAX_USERS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (low, middle)
            if minimum_detectable_effect(middle, baseline, analysis, any_look=any_look) <= effect
            else (middle, high)
        )
    return high
