"""Before the start: how many users an effect needs, and which effect so many users show."""

from math import inf, sqrt
from pathlib import Path
from typing import NamedTuple

from scipy.stats import norm

from multitudes.errors import UsageError
from multitudes.progress import Progress, silent
from multitudes.readout import sequential
from multitudes.readout.config import ReadoutConfig
from multitudes.readout.lift import LEVEL, coefficients, rate, slope
from multitudes.readout.moments import Moments, measure, variables
from multitudes.readout.users import cut, engine, load

POWER = 0.8
_MOST = 10**12  # users per arm: more than there are people


class Past(NamedTuple):
    """A metric as it was: all that the size of an experiment depends on."""

    mean: float  # per user; of a ratio: Σ numerator / Σ denominator
    sd: float  # over users; of a ratio: of what a user moves it by, times the number of users (delta method)
    explained: float = 0.0  # ρ²: the share of the variance that covariates take off


class Plan(NamedTuple):
    """What is asked of an experiment with arms of equal size."""

    power: float = POWER
    comparisons: int = 1  # of each of so many the error is 5 % / comparisons, as Holm's first step has it
    tightest_at: int = sequential.TIGHTEST_AT

    @property
    def level(self) -> float:
        """Return the level of each comparison."""
        return 1 - (1 - LEVEL) / self.comparisons


def past(of: Moments) -> Past:
    """Return what the users of the past say: mean, spread, and what the covariates take off.

    Raises:
        UsageError: the metric was 0, or the same for everybody.
    """
    if not of.mean_V[0] or not of.mean_V[1]:
        raise UsageError("the metric was 0 for everybody; choose one of which there is something to compare")
    slope_2, theta_P = slope(of), coefficients(of)
    variance = float(slope_2 @ of.covariance_VV[:2, :2] @ slope_2)
    if variance <= 0:
        raise UsageError("the metric was the same for everybody; choose one that varies")
    taken = float(theta_P @ of.covariance_VV[2:, :2] @ slope_2)
    return Past(rate(of), sqrt(variance), min(max(taken / variance, 0.0), 1.0))


def read_past(exposures: Path, outcomes: Path, config: ReadoutConfig, progress: Progress = silent) -> Past:
    """Return the first metric of ``config`` as it was for everybody in the tables, whatever their arm.

    Raises:
        UsageError: there is no such table or metric, or it says nothing.
        DataError: a table cannot be used.
    """
    with engine(config) as connection:
        users = load(connection, exposures, outcomes, config, progress)
        before = config.cuped and users.summed.covariate_s > 0
        of, _ = cut(connection, "total", variables(users.metrics[0], users.names, 0, before=before), config.winsorise)
        return past(measure(connection, "total", of)[None, None])


def effect_of(users: int, of: Past, plan: Plan, *, always: bool = False) -> float:
    """Return the relative lift that ``users`` in each arm show with the asked power; infinite where none is shown.

    Args:
        users: of each arm.
        of: the metric.
        plan: power, comparisons.
        always: by the interval that holds at any look, looked at when all users are there.
    """
    radius = (
        sequential.radius(2 * users, plan.tightest_at, plan.level) if always else float(norm.ppf((1 + plan.level) / 2))
    )
    of_one = of.sd * sqrt((1 - of.explained) / users) / abs(of.mean)
    square = ((radius + float(norm.ppf(plan.power))) * of_one) ** 2
    # The lift δ solves δ² = square · (1 + (1 + δ)²): what multiplies the mean of an arm multiplies its deviation too.
    if square >= 1:
        return inf
    return (square + sqrt(square * (2 - square))) / (1 - square)


def users_for(effect: float, of: Past, plan: Plan, *, always: bool = False) -> int:
    """Return how many users in each arm show a relative lift of ``effect`` with the asked power, at least 2.

    Raises:
        UsageError: no number of people is enough.
    """
    if effect_of(_MOST, of, plan, always=always) > effect:
        raise UsageError(f"an effect of {effect:g} needs more than {_MOST:,} users in each arm; ask for a larger one")
    # More users always show smaller effects, so halve until it is found.
    low, high = 1, _MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if effect_of(middle, of, plan, always=always) <= effect else (middle, high)
    return high
