"""Comparisons of arms: Holm's correction over a family, and whether a lift differs between cohorts or over days.

"Significant in one cohort, not significant in another" does not show that the cohorts differ.
``heterogeneity_p_value`` and ``novelty_trend`` test that.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt
from typing import TypeVar

import numpy as np
from scipy.stats import chi2, norm

from multitudes.metrics.significance import adjust_holm_by_key
from multitudes_lab.experiments import confidence_sequence
from multitudes_lab.experiments.confidence_sequence import LEVEL
from multitudes_lab.experiments.lift import Lift, UndefinedLift
from multitudes_lab.experiments.moments import Vector


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
    """One arm against the control by one metric.

    Attributes:
        users_control, users_treatment: users of both arms.
        control, treatment: the metric per user, or the ratio, after CUPED; None if the lift is undefined.
        lift: treatment / control − 1.
        low, high: 95 % interval of this lift alone, for one planned look; None: unbounded.
        p: p-value of no difference; p_holm: after Holm's correction over the family.
        significant: True if p_holm is at most 5 %.
        sequential: the same for any number of looks.
        error: standard error of the lift.
        explained: share of the variance that the covariates remove.
        reason: why the lift is undefined.
    """

    users_control: int
    users_treatment: int
    control: float | None = None
    treatment: float | None = None
    lift: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    significant: bool = False
    sequential: Sequential = Sequential()
    error: float | None = None
    explained: float = 0.0
    reason: str | None = None


K = TypeVar("K", bound=Hashable)


def compare_family(lifts: Mapping[K, Lift | UndefinedLift], tightest_at: int) -> dict[K, Comparison]:
    """Return the comparisons of a family, which share one error rate of 5 %.

    Args:
        lifts: the lift of each comparison.
        tightest_at: as in ``confidence_sequence``.
    """
    defined = {key: lift for key, lift in lifts.items() if isinstance(lift, Lift)}
    p = {key: lift.p for key, lift in defined.items()}
    p_seq = {key: confidence_sequence.p_value(lift.z, sum(lift.users), tightest_at) for key, lift in defined.items()}
    p_holm, p_seq_holm = adjust_holm_by_key(p), adjust_holm_by_key(p_seq)
    return {
        key: _lift_comparison(lift, p_holm[key], p_seq[key], p_seq_holm[key], tightest_at)
        if isinstance(lift, Lift)
        else Comparison(*lift.users, reason=lift.reason)
        for key, lift in lifts.items()
    }


def _lift_comparison(lift: Lift, p_holm: float, p_seq: float, p_seq_holm: float, tightest_at: int) -> Comparison:
    low, high = lift.interval()
    seq_low, seq_high = lift.interval(confidence_sequence.radius(sum(lift.users), tightest_at))
    limit = 1 - LEVEL
    return Comparison(
        *lift.users,
        control=lift.control,
        treatment=lift.treatment,
        lift=lift.value,
        low=low,
        high=high,
        p=lift.p,
        p_holm=p_holm,
        significant=p_holm <= limit,
        sequential=Sequential(seq_low, seq_high, p_seq, p_seq_holm, p_seq_holm <= limit),
        error=lift.error,
        explained=lift.explained,
    )


def heterogeneity_p_value(comparisons: Sequence[Comparison]) -> float | None:
    """Return the p-value of "the lift is the same in all cohorts" (Cochran's Q); None for fewer than two lifts.

    Args:
        comparisons: one per cohort; no user is in two of them.
    """
    lift_C, error_C = _lifts_and_errors(comparisons)
    if len(lift_C) < 2:
        return None
    mean = np.average(lift_C, weights=error_C**-2.0)
    return float(chi2.sf((((lift_C - mean) / error_C) ** 2).sum(), len(lift_C) - 1))


def novelty_trend(by_days: Mapping[tuple[int, int], Comparison]) -> tuple[float, float] | None:
    """Return the slope of the lift over the logarithm of the days since the exposure, and the p-value of "no slope".

    The test takes the days as independent. They are not: users who are active on one day are active on the next. That
    moves all lifts together and makes differences between days smaller than assumed, so the test errs less often than
    5 %.

    Args:
        by_days: (first day, first day after) → comparison of these days.

    Returns:
        Slope and p-value; None for fewer than three periods.
    """
    defined = {days: comparison for days, comparison in by_days.items() if _has_error(comparison)}
    if len(defined) < 3:
        return None
    lift_C, error_C = _lifts_and_errors(list(defined.values()))
    log_day_C = [log(1 + (first + end - 1) / 2) for first, end in defined]
    (slope, _), covariance_22 = np.polyfit(log_day_C, lift_C, 1, w=1 / error_C, cov="unscaled")
    return float(slope), float(2 * norm.sf(abs(slope) / sqrt(covariance_22[0, 0])))


def _lifts_and_errors(comparisons: Sequence[Comparison]) -> tuple[Vector, Vector]:
    """Return the lifts that have a standard error, and these errors."""
    pairs = [(one.lift, one.error) for one in comparisons if _has_error(one)]
    lift_C, error_C = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return lift_C, error_C


def _has_error(comparison: Comparison) -> bool:
    """Return whether the lift has a standard error: that of an arm whose users all have 0 has none."""
    return comparison.lift is not None and bool(comparison.error)
