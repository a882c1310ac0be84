"""Intervals that hold at any number of looks: asymptotic confidence sequences (Waudby-Smith et al., arXiv 2103.06476).

A 95 % interval is valid for one planned look. An analyst who looks every day and stops at the first interval that
excludes zero errs far more often. Robbins' mixture gives a radius, in standard errors, such that all looks together err
at most 5 % of the time. It has one parameter, ρ, which must be fixed before the data are seen. Here ρ is given as the
number of users, both arms together, at which the interval is tightest. A number that is too small costs little later, a
number that is too large costs much before, so the default is small. The radius is 3.0 standard errors at that number,
3.6 at a hundred times the users, 9 at a hundredth.

The proof assumes that users arrive one by one, each with a complete outcome. If outcomes continue after the exposure,
two looks share most of each user's sum, so they are more alike than the theory assumes. They err less for it
(records/readout.md); there is no proof. ``window_days`` makes outcomes complete.
"""

from math import exp, log, sqrt

LEVEL = 0.95
TIGHTEST_AT = 10_000  # users of both arms


def radius(n: int, tightest_at: int = TIGHTEST_AT, level: float = LEVEL) -> float:
    """Return the half width of the interval at ``n`` users, in standard errors; above the 1.96 of a single look."""
    mixed = n * _rho_squared(tightest_at)
    return sqrt(2 * (mixed + 1) / mixed * log(sqrt(mixed + 1) / (1 - level)))


def p_value(z: float, n: int, tightest_at: int = TIGHTEST_AT) -> float:
    """Return the p-value of a difference of ``z`` standard errors at ``n`` users.

    It is at most 1 − ``LEVEL`` exactly if the interval excludes zero.
    """
    mixed = n * _rho_squared(tightest_at)
    return min(1.0, sqrt(mixed + 1) * exp(-z * z * mixed / (2 * (mixed + 1))))


def _rho_squared(tightest_at: int) -> float:
    """Return the ρ² whose radius is smallest at ``tightest_at`` users (the paper's equation for the optimal ρ)."""
    # Always for the level of 95 %, whatever level an interval has: p-values and intervals are of one sequence.
    doubled = -2 * log(1 - LEVEL)
    return (doubled + log(doubled + 1)) / tightest_at
