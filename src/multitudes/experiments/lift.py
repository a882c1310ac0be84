"""The relative lift of one arm over another: users are the units, ratios go by the delta method, CUPED takes off noise.

Legend: V variables: numerator, denominator, P covariates.

Each arm is estimated by R = Σ numerator / Σ denominator. To first order R moves with its users as the mean of
(numerator − R · denominator) / mean denominator does (the delta method), so its variance over users is that of a mean,
and rows of one user may depend on each other as they like. CUPED (Deng et al. 2013) takes off θ · (covariates of the
arm − those of both arms): what is taken off has mean zero, as assignment is random, and with the best θ a share ρ² of
the variance goes with it.

The interval of the lift is Fieller's (1954): all lifts r − 1 whose hypothesis «treatment = r · control» is not
rejected. It excludes zero exactly where the test of the difference does, it holds for small and for negative means, and
the same inversion makes a sequential interval of a sequential test. Where the control is not told apart from zero, no
lift is ruled out, and the interval has no ends. ``benchmarks/readout`` has its coverage beside that of the delta method
on the linear and on the logarithmic scale.
"""

from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from multitudes.experiments.moments import Moments, Vector

LEVEL = 0.95
CRITICAL_Z = float(norm.ppf((1 + LEVEL) / 2))  # in standard errors, of an interval for one look
_MIN_RELATIVE_VARIANCE = 1e-24  # a relative variance of no more is one of rounding
_MIN_RESIDUAL_VARIANCE = (
    1e-9  # covariates that leave no more of a variance fit the few users who have anything, and say nothing of others
)

Interval = tuple[float, float] | tuple[None, None]  # None: no end


@dataclass(frozen=True)
class Lift:
    """Two arms and what is known of the difference between them.

    Attributes:
        users: of the control and of the treatment.
        control, treatment: Σ numerator / Σ denominator, after CUPED.
        covariance_22: of these two figures.
        explained: share of the variance of the difference that the covariates took off, the ρ² of CUPED; 0 without.
    """

    users: tuple[int, int]
    control: float
    treatment: float
    covariance_22: Vector
    explained: float

    @property
    def value(self) -> float:
        """Return the lift, relative to the size of the control."""
        return (self.treatment - self.control) / abs(self.control)

    @property
    def variance(self) -> float:
        """Return the variance of the difference."""
        (of_control, both), (_, of_treatment) = self.covariance_22.tolist()
        return float(of_control + of_treatment - 2 * both)

    @property
    def error(self) -> float:
        """Return the standard error of the lift, to first order."""
        slope_2 = np.array([-self.treatment / self.control**2, 1 / self.control])
        return sqrt(float(slope_2 @ self.covariance_22 @ slope_2))

    @property
    def z(self) -> float:
        """Return the difference in its standard errors."""
        return (self.treatment - self.control) / sqrt(self.variance)

    @property
    def p(self) -> float:
        """Return the two-sided p-value of «there is no difference», for one look that was planned."""
        return float(2 * norm.sf(abs(self.z)))

    def interval(self, radius: float = CRITICAL_Z) -> Interval:
        """Return Fieller's interval of the lift at ``radius`` standard errors."""
        (of_control, both), (_, of_treatment) = self.covariance_22.tolist()
        square = radius**2
        a = self.control**2 - square * of_control
        b = self.control * self.treatment - square * both
        c = self.treatment**2 - square * of_treatment
        if a <= 0:
            return None, None
        root = sqrt(max(b * b - a * c, 0.0))
        low, high = (b - root) / a - 1, (b + root) / a - 1
        return (low, high) if self.control > 0 else (-high, -low)


class UndefinedLift(NamedTuple):
    """Two arms between which there is no lift, and why, as a sentence."""

    users: tuple[int, int]
    reason: str


def estimate_lift(control: Moments | None, treatment: Moments | None) -> Lift | UndefinedLift:
    """Return the lift of ``treatment`` over ``control``, or why there is none; None is an arm without users."""
    if control is None or treatment is None or min(control.n, treatment.n) < 2:
        users = control.n if control else 0, treatment.n if treatment else 0
        return UndefinedLift(users, f"{users[0]:,} users in the control and {users[1]:,} in the arm: too few of one")
    users = control.n, treatment.n
    if not (control.mean_V[1] and treatment.mean_V[1]):
        return UndefinedLift(users, "what it is divided by is 0 for a whole arm")
    raw = _cuped_lift(control, treatment, np.zeros(len(control.mean_V) - 2))
    if raw.variance <= _MIN_RELATIVE_VARIANCE * max(raw.control**2, raw.treatment**2):
        return UndefinedLift(users, "it does not vary: all users of an arm have the same")
    if not raw.control:
        return UndefinedLift(users, "it is 0 for all of the control, and nothing is a multiple of that")
    adjusted = _cuped_lift(control, treatment, cuped_coefficients(control, treatment))
    if adjusted.variance <= _MIN_RESIDUAL_VARIANCE * raw.variance:
        return raw
    explained = max(0.0, 1 - adjusted.variance / raw.variance)
    return Lift(adjusted.users, adjusted.control, adjusted.treatment, adjusted.covariance_22, explained)


def within_user_lift(moments: Moments) -> Lift | UndefinedLift:
    """Return the lift of the second of two variables over the first, both of the same users, or why there is none."""
    users = moments.n, moments.n
    if moments.n < 2:
        return UndefinedLift(users, f"{moments.n:,} users: too few")
    control, treatment = moments.mean_V.tolist()
    found = Lift(users, control, treatment, moments.covariance_VV / moments.n, 0.0)
    if found.variance <= _MIN_RELATIVE_VARIANCE * max(control**2, treatment**2):
        return UndefinedLift(users, "it does not vary: the difference of the arms is the same for all users")
    return found if control else UndefinedLift(users, "it is 0 for the control, and nothing is a multiple of that")


def ratio_estimate(moments: Moments) -> float:
    """Return Σ numerator / Σ denominator."""
    return float(moments.mean_V[0] / moments.mean_V[1])


def delta_gradient(moments: Moments) -> Vector:
    """Return how the rate moves with each of the two sums: the delta method's gradient."""
    gradient_2: Vector = np.array([1.0, -ratio_estimate(moments)]) / moments.mean_V[1]
    return gradient_2


def cuped_coefficients(*arms: Moments) -> Vector:
    """Return CUPED's θ: what leaves the difference of the arms, or the mean of one, least variance; shape (P,)."""
    within_PP = sum(arm.covariance_VV[2:, 2:] / arm.n for arm in arms)
    between_P = sum(arm.covariance_VV[2:, :2] @ delta_gradient(arm) / arm.n for arm in arms)
    spread_P = np.sqrt(np.diag(within_PP))
    scale_P = np.divide(1.0, spread_P, out=np.zeros_like(spread_P), where=spread_P > 0)
    # In units of their spread, so that covariates that say the same (or nothing) are told from small ones.
    inverse_PP = np.linalg.pinv(within_PP * np.outer(scale_P, scale_P), rcond=1e-9, hermitian=True)
    theta_P: Vector = scale_P * (inverse_PP @ (scale_P * between_P))
    return theta_P


def _cuped_lift(control: Moments, treatment: Moments, theta_P: Vector) -> Lift:
    share = treatment.n / (control.n + treatment.n)
    apart_P = treatment.mean_V[2:] - control.mean_V[2:]
    # Both arms are moved to the covariates of all their users: each by the other's share of the way between them.
    of_control = ratio_estimate(control) + share * float(theta_P @ apart_P)
    of_treatment = ratio_estimate(treatment) - (1 - share) * float(theta_P @ apart_P)
    toward_control_2V = np.stack(
        [
            np.concatenate([delta_gradient(control), -share * theta_P]),
            np.concatenate([np.zeros(2), (1 - share) * theta_P]),
        ]
    )
    toward_treatment_2V = np.stack(
        [
            np.concatenate([np.zeros(2), share * theta_P]),
            np.concatenate([delta_gradient(treatment), -(1 - share) * theta_P]),
        ]
    )
    covariance_22 = (
        toward_control_2V @ control.covariance_VV @ toward_control_2V.T / control.n
        + toward_treatment_2V @ treatment.covariance_VV @ toward_treatment_2V.T / treatment.n
    )
    return Lift((control.n, treatment.n), of_control, of_treatment, covariance_22, 0.0)
