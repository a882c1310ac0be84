"""What a lift is worth among others: one error in twenty for all comparisons of a family together."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from multitudes.metrics.significance import holm
from multitudes.readout import sequential
from multitudes.readout.lift import LEVEL, Lift, Undefined


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


def judged(found: Mapping[K, Lift | Undefined], tightest_at: int) -> dict[K, Comparison]:
    """Return the comparisons of a family, which share one error rate.

    Args:
        found: the lifts.
        tightest_at: as in ``sequential``.
    """
    lifts = {key: lift for key, lift in found.items() if isinstance(lift, Lift)}
    always = {key: sequential.p_value(lift.z, sum(lift.users), tightest_at) for key, lift in lifts.items()}
    once_holm, always_holm = _holm({key: lift.p for key, lift in lifts.items()}), _holm(always)
    return {
        key: _comparison(lift, once_holm[key], always[key], always_holm[key], tightest_at)
        if isinstance(lift, Lift)
        else _without(lift)
        for key, lift in found.items()
    }


def _holm(p: Mapping[K, float]) -> dict[K, float]:
    return dict(zip(p, holm(np.array(list(p.values()))).tolist(), strict=True))


def _comparison(lift: Lift, p_holm: float, p_seq: float, p_seq_holm: float, tightest_at: int) -> Comparison:
    low, high = lift.interval()
    always_low, always_high = lift.interval(sequential.radius(sum(lift.users), tightest_at))
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


def _without(lift: Undefined) -> Comparison:
    nothing = Sequential(None, None, None, None, significant=False)
    return Comparison(*lift.users, *(None,) * 7, False, nothing, None, 0.0, lift.reason)
