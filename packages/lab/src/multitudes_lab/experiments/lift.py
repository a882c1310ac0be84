"""The relative lift of one arm over another: delta method for ratios, CUPED for variance reduction, users as units.

Legend: V variables: numerator, denominator, P covariates.

The estimate of an arm is R = Σ numerator / Σ denominator. To first order, R varies with its users as the mean of
(numerator − R · denominator) / mean denominator does (the delta method). So its variance over users is that of a mean,
and the rows of one user may depend on each other. CUPED (Deng et al. 2013) subtracts θ · (covariates of the arm − those
of both arms). The subtracted term has mean zero, as assignment is random; the best θ removes a share ρ² of the
variance.

The interval of the lift is Fieller's (1954): all lifts r − 1 for which the hypothesis "treatment = r · control" is not
rejected. It excludes zero exactly if the test of the difference rejects, holds for small and for negative means, and
turns a sequential test into a sequential interval in the same way. If the control does not differ from zero, no lift is
ruled out, and the interval is unbounded. records/readout.md has its coverage beside that of the delta method on the
linear and on the logarithmic scale.
"""

from dataclasses import dataclass, replace
from math import sqrt
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from multitudes_lab.experiments.confidence_sequence import LEVEL
from multitudes_lab.experiments.moments import Moments, Vector

CRITICAL_Z = float(norm.ppf((1 + LEVEL) / 2))  # half width of the interval for one look, in standard errors
_MIN_RELATIVE_VARIANCE = 1e-24  # a smaller relative variance is rounding
# Covariates that leave a smaller share of the variance fit the few users with an outcome and say nothing of others.
_MIN_RESIDUAL_VARIANCE = 1e-9

Interval = tuple[float, float] | tuple[None, None]  # None: unbounded


@dataclass(frozen=True)
class Lift:
    """Two arms and the difference between them."""

    users: tuple[int, int]  # of the control and of the treatment
    control: float  # Σ numerator / Σ denominator, after CUPED
    treatment: float
    covariance_22: Vector  # of these two estimates
    explained: float  # share of the variance of the difference that the covariates remove, CUPED's ρ²

    @property
    def value(self) -> float:
        """Return the lift, relative to the size of the control."""
        return (self.treatment - self.control) / abs(self.control)

    @property
    def variance(self) -> float:
        """Return the variance of the difference."""
        (var_control, covariance), (_, var_treatment) = self.covariance_22.tolist()
        return float(var_control + var_treatment - 2 * covariance)

    @property
    def error(self) -> float:
        """Return the standard error of the lift, to first order."""
        gradient_2 = np.array([-self.treatment / self.control**2, 1 / self.control])
        return sqrt(float(gradient_2 @ self.covariance_22 @ gradient_2))

    @property
    def z(self) -> float:
        """Return the difference in units of its standard error."""
        return (self.treatment - self.control) / sqrt(self.variance)

    @property
    def p(self) -> float:
        """Return the two-sided p-value of "there is no difference", for one planned look."""
        return float(2 * norm.sf(abs(self.z)))

    def interval(self, radius: float = CRITICAL_Z) -> Interval:
        """Return Fieller's interval of the lift, with a half width of ``radius`` standard errors."""
        (var_control, covariance), (_, var_treatment) = self.covariance_22.tolist()
        square = radius**2
        a = self.control**2 - square * var_control
        b = self.control * self.treatment - square * covariance
        c = self.treatment**2 - square * var_treatment
        if a <= 0:
            return None, None
        root = sqrt(max(b * b - a * c, 0.0))
        low, high = (b - root) / a - 1, (b + root) / a - 1
        return (low, high) if self.control > 0 else (-high, -low)


class UndefinedLift(NamedTuple):
    """Two arms whose lift is undefined, and the reason as a sentence."""

    users: tuple[int, int]
    reason: str


def estimate_lift(control: Moments | None, treatment: Moments | None) -> Lift | UndefinedLift:
    """Return the lift of ``treatment`` over ``control``, or why it is undefined; None: an arm without users."""
    if control is None or treatment is None or min(control.n, treatment.n) < 2:
        users = control.n if control else 0, treatment.n if treatment else 0
        return UndefinedLift(users, f"{users[0]:,} users in the control and {users[1]:,} in the arm: too few in one")
    users = control.n, treatment.n
    if not (control.mean_V[1] and treatment.mean_V[1]):
        return UndefinedLift(users, "the denominator is 0 for a whole arm")
    raw = _cuped_lift(control, treatment, np.zeros(len(control.mean_V) - 2))
    if raw.variance <= _MIN_RELATIVE_VARIANCE * max(raw.control**2, raw.treatment**2):
        return UndefinedLift(users, "it does not vary: all users of an arm have the same value")
    if not raw.control:
        return UndefinedLift(users, "it is 0 for the whole control, and a lift is relative to the control")
    adjusted = _cuped_lift(control, treatment, cuped_coefficients(control, treatment))
    if adjusted.variance <= _MIN_RESIDUAL_VARIANCE * raw.variance:
        return raw
    return replace(adjusted, explained=max(0.0, 1 - adjusted.variance / raw.variance))


def within_user_lift(moments: Moments) -> Lift | UndefinedLift:
    """Return the lift of the second variable over the first, both of the same users, or why it is undefined."""
    users = moments.n, moments.n
    if moments.n < 2:
        return UndefinedLift(users, f"{moments.n:,} users: too few")
    control, treatment = moments.mean_V.tolist()
    lift = Lift(users, control, treatment, moments.covariance_VV / moments.n, 0.0)
    if lift.variance <= _MIN_RELATIVE_VARIANCE * max(control**2, treatment**2):
        return UndefinedLift(users, "it does not vary: the difference of the arms is the same for all users")
    return lift if control else UndefinedLift(users, "it is 0 for the control, and a lift is relative to the control")


def ratio_estimate(moments: Moments) -> float:
    """Return Σ numerator / Σ denominator."""
    return float(moments.mean_V[0] / moments.mean_V[1])


def delta_gradient(moments: Moments) -> Vector:
    """Return the derivative of the ratio by the means of numerator and denominator (delta method), shape (2,)."""
    return np.array([1.0, -ratio_estimate(moments)]) / float(moments.mean_V[1])


def cuped_coefficients(*arms: Moments) -> Vector:
    """Return CUPED's θ, shape (P,): it minimizes the variance of the difference of two arms, or of the mean of one."""
    within_PP = sum(arm.covariance_VV[2:, 2:] / arm.n for arm in arms)
    between_P = sum(arm.covariance_VV[2:, :2] @ delta_gradient(arm) / arm.n for arm in arms)
    spread_P = np.sqrt(np.diag(within_PP))
    scale_P = np.divide(1.0, spread_P, out=np.zeros_like(spread_P), where=spread_P > 0)
    # In units of their deviation, so that the pseudo-inverse tells collinear covariates from small ones.
    inverse_PP = np.linalg.pinv(within_PP * np.outer(scale_P, scale_P), rcond=1e-9, hermitian=True)
    return scale_P * (inverse_PP @ (scale_P * between_P))


def _cuped_lift(control: Moments, treatment: Moments, theta_P: Vector) -> Lift:
    # Both arms move to the covariates of all users: each by the other's share of the distance between them.
    share = treatment.n / (control.n + treatment.n)
    moved_2 = np.array([share, share - 1])
    distance = float(theta_P @ (treatment.mean_V[2:] - control.mean_V[2:]))
    of_control, of_treatment = (moved_2 * distance).tolist()
    covariance_22 = np.zeros((2, 2))
    for k, (arm, sign) in enumerate(((control, -1), (treatment, 1))):
        # Derivatives of both estimates by the means of this arm.
        by_mean_2V = sign * np.outer(moved_2, np.concatenate([[0, 0], theta_P]))
        by_mean_2V[k, :2] = delta_gradient(arm)
        covariance_22 += by_mean_2V @ arm.covariance_VV @ by_mean_2V.T / arm.n
    estimates = ratio_estimate(control) + of_control, ratio_estimate(treatment) + of_treatment
    return Lift((control.n, treatment.n), *estimates, covariance_22, 0.0)
