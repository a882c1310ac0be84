"""Are the arms as large as planned: if not, who is in them is not chance, and no other figure means anything."""

from collections.abc import Mapping
from dataclasses import dataclass

from scipy.stats import chi2

LIMIT = 0.001  # asked at every look and of every experiment, so a false alarm must be rare


@dataclass(frozen=True)
class SampleRatio:
    """The check of Pearson's χ².

    Attributes:
        users: of each arm.
        expected: how many they should be.
        p: of arms at least so far from plan, by chance.
        ok: the p-value is not below ``LIMIT``.
    """

    users: Mapping[str, int]
    expected: Mapping[str, float]
    p: float
    ok: bool


def check(users: Mapping[str, int], planned: Mapping[str, float]) -> SampleRatio:
    """Return whether ``users`` of each arm are as many as the ``planned`` shares, in any unit, make likely."""
    total, whole = sum(users.values()), sum(planned[arm] for arm in users)
    expected = {arm: total * planned[arm] / whole for arm in users}
    statistic = sum((n - expected[arm]) ** 2 / expected[arm] for arm, n in users.items())
    p = float(chi2.sf(statistic, len(users) - 1))
    return SampleRatio(dict(users), expected, p, p >= LIMIT)
