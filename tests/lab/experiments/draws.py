"""Random users of an experiment, their lifts, and how often something is found in experiments whose truth is known.

Legend: B users.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from multitudes.seeding import generator
from multitudes_lab.experiments.confidence_sequence import radius
from multitudes_lab.experiments.lift import Lift, estimate_lift
from multitudes_lab.experiments.moments import Moments

Column = NDArray[np.float64]
ALPHA = 0.05


class Drawn(NamedTuple):
    """Sums of each user."""

    saves_B: Column
    sessions_B: Column
    saves_before_B: Column
    sessions_before_B: Column

    def sums(self, *, cuped: bool = False) -> Moments:
        """Return the moments of saves per user, with those before as a covariate if ``cuped``."""
        return sums(self.saves_B, *([self.saves_before_B] if cuped else []))

    def ratio(self, *, cuped: bool = False) -> Moments:
        before = [self.saves_before_B, self.sessions_before_B] if cuped else []
        return user_moments(np.stack([self.saves_B, self.sessions_B, *before], axis=1))


def user_moments(value_BV: Column) -> Moments:
    n_users, n_variables = value_BV.shape
    covariance_VV = np.cov(value_BV, rowvar=False) if n_users > 1 else np.zeros((n_variables, n_variables))
    return Moments(n_users, value_BV.mean(axis=0), np.atleast_2d(covariance_VV))


def sums(value_B: Column, *covariates: Column) -> Moments:
    return user_moments(np.stack([value_B, np.ones(len(value_B)), *covariates], axis=1))


def draw(generator: np.random.Generator, n: int, lift: float = 0.0) -> Drawn:
    """Return ``n`` users: activity is long-tailed, and each user has an own readiness to save.

    The ``lift`` is of saves, and of saves per session: the probability of a save in a session is higher by this share.
    """
    often_B = generator.lognormal(1.0, 0.8, n)
    ready_B = 0.8 * generator.beta(1, 4, n)
    sessions_B, before_B = generator.poisson(often_B), generator.poisson(often_B)
    saves_B = generator.binomial(sessions_B, np.minimum(ready_B * (1 + lift), 1))
    saves_before_B = generator.binomial(before_B, ready_B)
    return Drawn(*(column.astype(np.float64) for column in (saves_B, sessions_B, saves_before_B, before_B)))


def lift_of(control: Moments, treatment: Moments) -> Any:
    found = estimate_lift(control, treatment)
    assert isinstance(found, Lift)
    return found


def is_found(control: Moments, treatment: Moments) -> bool:
    """Return whether one planned look finds a difference."""
    return bool(lift_of(control, treatment).p <= ALPHA)


def looks(lifts: list[Lift]) -> dict[str, bool]:
    """Return whether any of several looks finds a difference, by the interval that is taken."""
    intervals = [lift.interval(radius(sum(lift.users))) for lift in lifts]
    found = any(low is not None and high is not None and not low <= 0 <= high for low, high in intervals)
    return {"one planned look, taken every time": any(lift.p <= ALPHA for lift in lifts), "sequential": found}


class Rate(NamedTuple):
    """Number of experiments with an event, of all experiments."""

    found: int
    experiments: int

    @property
    def surely_above(self) -> float:
        """The share that it is above, at a level of one in 20,000 (Clopper and Pearson)."""
        return float(binomtest(self.found, self.experiments).proportion_ci(0.9999).low)

    def agrees_with(self, share: float) -> bool:
        """Return whether the count agrees with ``share`` at a level of one in 10,000."""
        low, high = binom.ppf([5e-5, 1 - 5e-5], self.experiments, share)
        return bool(low <= self.found <= high)


def rates(experiments: int, trial: Callable[[np.random.Generator], dict[str, bool]]) -> dict[str, Rate]:
    """Return how often each event happens in experiments with a random stream each."""
    counts: Counter[str] = Counter()
    for number in range(experiments):
        counts.update({name: int(happened) for name, happened in trial(generator(1, "experiment", number)).items()})
    return {name: Rate(count, experiments) for name, count in counts.items()}
