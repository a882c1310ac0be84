"""Intervals that hold however often one looks: asymptotic confidence sequences (Waudby-Smith et al., 2103.06476).

A 95 % interval is right for one look that was planned. Who looks every day and stops at the first that excludes zero
errs far more often. Robbins' mixture gives a radius, in standard errors, such that all looks together err at most 5 %,
now and ever. It has one parameter, ρ, which must be fixed before the data are seen; here it is said as the number of
users, of both arms together, at which the interval is tightest. Too few cost little later, too many cost much before,
so the default is small. The radius is 3.0 standard errors there, 3.6 at a hundred times the users, 9 at a hundredth.

It is proven for users who come one by one, each with the whole outcome. Where outcomes go on after the exposure, a user
is never without the sum of yesterday, so two looks are nearer to each other than the theory has them; that they err
less for it is measured (``benchmarks/readout``), not proven. ``window_days`` makes outcomes whole.
"""

from math import exp, log, sqrt

LEVEL = 0.95
TIGHTEST_AT = 10_000


def radius(n: int, tightest_at: int = TIGHTEST_AT, level: float = LEVEL) -> float:
    """Return the half width in standard errors at ``n`` users; larger than the 1.96 of a single look."""
    mixed = n * _rho_squared(tightest_at)
    return sqrt(2 * (mixed + 1) / mixed * log(sqrt(mixed + 1) / (1 - level)))


def p_value(z: float, n: int, tightest_at: int = TIGHTEST_AT) -> float:
    """Return the p-value at ``z`` standard errors: at most 1 − level exactly where the interval excludes zero."""
    mixed = n * _rho_squared(tightest_at)
    return min(1.0, sqrt(mixed + 1) * exp(-z * z * mixed / (2 * (mixed + 1))))


def _rho_squared(tightest_at: int) -> float:
    """Return ρ² of the smallest radius at ``tightest_at`` users (their equation for the optimal ρ)."""
    # For the level of 95 % whatever interval is asked for, or p-values and intervals would be of different sequences.
    doubled = -2 * log(1 - LEVEL)
    return (doubled + log(doubled + 1)) / tightest_at
