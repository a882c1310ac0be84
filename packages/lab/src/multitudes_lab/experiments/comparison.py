"""Comparisons of arms: Holm's correction over a family, and whether a lift differs between cohorts or over days.

"Significant in one cohort, not significant in another" does not show that the cohorts differ.
``heterogeneity_p_value`` and ``novelty_trend`` test that.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from math import log, nan, sqrt
from typing import TypeVar

import numpy as np
from scipy.stats import chi2, norm

from multitudes.metrics.significance import adjust_holm_by_key
from multitudes_lab.experiments import confidence_sequence
from multitudes_lab.experiments.confidence_sequence import LEVEL
from multitudes_lab.experiments.lift import Lift, UndefinedLift
from multitudes_lab.experiments.moments import Vector

G = TypeVar("G", bound=Hashable)  # names a group of users


@dataclass(frozen=True)
class Sequential:
    """The interval and p-values that hold at any number of looks; the fields are those of ``Comparison``."""

    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    significant: bool = False


@dataclass(frozen=True)
class Comparison:
    """One arm against the control by one metric; a figure of a lift that is undefined is None."""

    users_control: int
    users_treatment: int
    control: float | None = None  # the metric per user, or the ratio, after CUPED
    treatment: float | None = None
    lift: float | None = None  # treatment / control − 1
    low: float | None = None  # 95 % interval of this lift alone, for one planned look; None: unbounded
    high: float | None = None
    p: float | None = None  # of no difference
    p_holm: float | None = None  # after Holm's correction over the family
    significant: bool = False  # p_holm is at most 5 %
    sequential: Sequential = Sequential()
    error: float | None = None  # standard error of the lift
    explained: float = 0.0  # share of the variance that the covariates remove
    reason: str | None = None  # why the lift is undefined


Comparisons = Mapping[str, Mapping[str, Comparison]]  # metric → arm → comparison


def compare_family(
    lifts: Mapping[tuple[G, str, str], Lift | UndefinedLift], tightest_at: int
) -> dict[G, dict[str, dict[str, Comparison]]]:
    """Return the comparisons of a family, which share one error rate of 5 %, by group of users, metric and arm."""
    defined = {key: lift for key, lift in lifts.items() if isinstance(lift, Lift)}
    p_seq = {key: confidence_sequence.p_value(lift.z, sum(lift.users), tightest_at) for key, lift in defined.items()}
    p_holm, p_seq_holm = adjust_holm_by_key({key: lift.p for key, lift in defined.items()}), adjust_holm_by_key(p_seq)
    compared: dict[G, dict[str, dict[str, Comparison]]] = {}
    for key, lift in lifts.items():
        group, metric, arm = key
        if isinstance(lift, UndefinedLift):
            comparison = Comparison(*lift.users, reason=lift.reason)
        else:
            low, high = lift.interval()
            seq_low, seq_high = lift.interval(confidence_sequence.radius(sum(lift.users), tightest_at))
            comparison = Comparison(
                *lift.users,
                control=lift.control,
                treatment=lift.treatment,
                lift=lift.value,
                low=low,
                high=high,
                p=lift.p,
                p_holm=p_holm[key],
                significant=p_holm[key] <= 1 - LEVEL,
                sequential=Sequential(seq_low, seq_high, p_seq[key], p_seq_holm[key], p_seq_holm[key] <= 1 - LEVEL),
                error=lift.error,
                explained=lift.explained,
            )
        compared.setdefault(group, {}).setdefault(metric, {})[arm] = comparison
    return compared


def heterogeneity_p_value(by_cohort: Mapping[str, Comparison]) -> float:
    """Return the p-value of "the lift is the same in all cohorts" (Cochran's Q); NaN for fewer than two lifts.

    No user is in two of the cohorts.
    """
    _, lift_C, error_C = _lifts_and_errors(by_cohort)
    if len(lift_C) < 2:
        return nan
    mean = np.average(lift_C, weights=error_C**-2.0)
    return float(chi2.sf((((lift_C - mean) / error_C) ** 2).sum(), len(lift_C) - 1))


def novelty_trend(by_days: Mapping[tuple[int, int], Comparison]) -> tuple[float, float]:
    """Return the slope of the lift over the logarithm of the days since the exposure, and the p-value of "no slope".

    The key of a comparison is its first day and the first day after. Both are NaN for fewer than three lifts.

    The test takes the days as independent. They are not: users who are active on one day are active on the next. That
    moves all lifts together and makes differences between days smaller than assumed, so the test errs less often than
    5 %.
    """
    days, lift_C, error_C = _lifts_and_errors(by_days)
    if len(days) < 3:
        return nan, nan
    log_day_C = [log(1 + (first + end - 1) / 2) for first, end in days]
    (slope, _), covariance_22 = np.polyfit(log_day_C, lift_C, 1, w=1 / error_C, cov="unscaled")
    return float(slope), float(2 * norm.sf(abs(slope) / sqrt(covariance_22[0, 0])))


def _lifts_and_errors(comparisons: Mapping[G, Comparison]) -> tuple[list[G], Vector, Vector]:
    """Return the groups whose lift has a standard error, which that of an arm whose users all have 0 has not."""
    defined = {key: (one.lift, one.error) for key, one in comparisons.items() if one.lift is not None and one.error}
    lift_C, error_C = np.array(list(defined.values()), dtype=np.float64).reshape(-1, 2).T
    return list(defined), lift_C, error_C
