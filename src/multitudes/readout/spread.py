"""Is the lift the same for everybody, and does it stay: cohorts against each other, and the days since the exposure.

"Significant here, not significant there" is no difference between here and there; these tests are.
"""

from collections.abc import Mapping, Sequence
from math import log

import numpy as np
from scipy.stats import chi2, norm

from multitudes.readout.judge import Comparison
from multitudes.readout.moments import Vector


def differ(parts: Sequence[Comparison]) -> float | None:
    """Return the p-value of «the lift is the same in all parts» (Cochran's Q); None for fewer than two.

    The parts share no user.
    """
    lift_C, weight_C = _defined(parts)
    if len(lift_C) < 2:
        return None
    mean = np.average(lift_C, weights=weight_C)
    return float(chi2.sf(float((weight_C * (lift_C - mean) ** 2).sum()), len(lift_C) - 1))


def trend(by_days: Mapping[tuple[int, int], Comparison]) -> tuple[float, float] | None:
    """Return how the lift goes with the logarithm of the days since the exposure, and the p-value of «it does not».

    The days are taken as independent of each other. They are not: who does much on one day does so on the next, which
    moves all lifts alike, and differences between days by less than is assumed here. So this errs less than it says.
    None where there are fewer than three periods.
    """
    kept = {days: one for days, one in by_days.items() if _known(one)}
    lift_C, weight_C = _defined(list(kept.values()))
    if len(lift_C) < 3:
        return None
    at_C = np.array([log(1 + (first + end - 1) / 2) for first, end in kept])
    apart_C = at_C - np.average(at_C, weights=weight_C)
    information = float((weight_C * apart_C**2).sum())
    slope = float((weight_C * apart_C * lift_C).sum()) / information
    return slope, float(2 * norm.sf(abs(slope) * information**0.5))


def _defined(parts: Sequence[Comparison]) -> tuple[Vector, Vector]:
    """Return lifts and the inverse of their variances, of those that there are."""
    pairs = [(one.lift, one.error) for one in parts if _known(one)]
    lift_C, error_C = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return lift_C, error_C**-2.0


def _known(one: Comparison) -> bool:
    """Tell whether a part has a lift with an error: an arm with 0 for all of its users has none, so no weight."""
    return one.lift is not None and bool(one.error)
