"""What a lift is worth among others: one error in twenty for all comparisons of a family together.

Is the lift the same for everybody, and does it stay: cohorts against each other, and the days since the exposure.

"Significant here, not significant there" is no difference between here and there; these tests are.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import TypeVar

import numpy as np
from scipy.stats import chi2, norm

from multitudes.experiments import confidence_sequence
from multitudes.experiments.lift import LEVEL, Lift, UndefinedLift
from multitudes.experiments.moments import Vector
from multitudes.metrics.significance import adjust_holm


@dataclass(frozen=True)
class Sequential:
    """The interval that holds however often one looks; the fields are as in ``Comparison``."""

    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    significant: bool


@dataclass(frozen=True)
class Comparison:
    """One arm against the control by one metric.

    Attributes:
        users_control, users_treatment: users of both arms.
        control, treatment: the metric per user, or the ratio, after CUPED; None where there is no lift.
        lift: treatment / control − 1.
        low, high: 95 % interval of this lift alone, for one look that was planned; None: no end.
        p: of no difference; p_holm: the same after Holm's correction over the family.
        significant: it holds with 5 % of error for the whole family.
        sequential: the same for any number of looks.
        error: standard error of the lift.
        explained: share of the variance that covariates took off.
        reason: why there is no lift.
    """

    users_control: int
    users_treatment: int
    control: float | None
    treatment: float | None
    lift: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    significant: bool
    sequential: Sequential
    error: float | None
    explained: float
    reason: str | None


K = TypeVar("K", bound=Hashable)


def compare_family(found: Mapping[K, Lift | UndefinedLift], tightest_at: int) -> dict[K, Comparison]:
    """Return the comparisons of a family, which share one error rate.

    Args:
        found: the lifts.
        tightest_at: as in ``sequential``.
    """
    lifts = {key: lift for key, lift in found.items() if isinstance(lift, Lift)}
    always = {key: confidence_sequence.p_value(lift.z, sum(lift.users), tightest_at) for key, lift in lifts.items()}
    once_holm, always_holm = _adjust_p_values({key: lift.p for key, lift in lifts.items()}), _adjust_p_values(always)
    return {
        key: _lift_comparison(lift, once_holm[key], always[key], always_holm[key], tightest_at)
        if isinstance(lift, Lift)
        else _empty_comparison(lift)
        for key, lift in found.items()
    }


def _adjust_p_values(p: Mapping[K, float]) -> dict[K, float]:
    return dict(zip(p, adjust_holm(np.array(list(p.values()))).tolist(), strict=True))


def _lift_comparison(lift: Lift, p_holm: float, p_seq: float, p_seq_holm: float, tightest_at: int) -> Comparison:
    low, high = lift.interval()
    always_low, always_high = lift.interval(confidence_sequence.radius(sum(lift.users), tightest_at))
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
        sequential=Sequential(always_low, always_high, p_seq, p_seq_holm, p_seq_holm <= limit),
        error=lift.error,
        explained=lift.explained,
        reason=None,
    )


def _empty_comparison(lift: UndefinedLift) -> Comparison:
    nothing = Sequential(None, None, None, None, significant=False)
    return Comparison(*lift.users, *(None,) * 7, False, nothing, None, 0.0, lift.reason)


def heterogeneity_p_value(comparisons: Sequence[Comparison]) -> float | None:
    """Return the p-value of «the lift is the same in all parts» (Cochran's Q); None for fewer than two.

    The parts share no user.
    """
    lift_C, weight_C = _lifts_and_weights(comparisons)
    if len(lift_C) < 2:
        return None
    mean = np.average(lift_C, weights=weight_C)
    return float(chi2.sf(float((weight_C * (lift_C - mean) ** 2).sum()), len(lift_C) - 1))


def novelty_trend(by_days: Mapping[tuple[int, int], Comparison]) -> tuple[float, float] | None:
    """Return how the lift goes with the logarithm of the days since the exposure, and the p-value of «it does not».

    The days are taken as independent of each other. They are not: who does much on one day does so on the next, which
    moves all lifts alike, and differences between days by less than is assumed here. So this errs less than it says.
    None where there are fewer than three periods.
    """
    kept = {days: one for days, one in by_days.items() if _has_weight(one)}
    lift_C, weight_C = _lifts_and_weights(list(kept.values()))
    if len(lift_C) < 3:
        return None
    at_C = np.array([log(1 + (first + end - 1) / 2) for first, end in kept])
    apart_C = at_C - np.average(at_C, weights=weight_C)
    information = float((weight_C * apart_C**2).sum())
    slope = float((weight_C * apart_C * lift_C).sum()) / information
    return slope, float(2 * norm.sf(abs(slope) * information**0.5))


def _lifts_and_weights(comparisons: Sequence[Comparison]) -> tuple[Vector, Vector]:
    """Return lifts and the inverse of their variances, of those that there are."""
    pairs = [(one.lift, one.error) for one in comparisons if _has_weight(one)]
    lift_C, error_C = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return lift_C, error_C**-2.0


def _has_weight(comparison: Comparison) -> bool:
    """Tell whether a part has a lift with an error: an arm with 0 for all of its users has none, so no weight."""
    return comparison.lift is not None and bool(comparison.error)
