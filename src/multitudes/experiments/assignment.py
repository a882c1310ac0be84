"""Are the arms as large as planned: if not, who is in them is not chance, and no other figure means anything.

The arms: which is the control, how large each is, and how large it was to be.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import inf

from scipy.stats import chi2

from multitudes.config import suggestion
from multitudes.data.duck import DuckDBEngine
from multitudes.errors import DataError, UsageError
from multitudes.experiments.config import ReadoutConfig
from multitudes.experiments.users import Users

SRM_ALPHA = 0.001  # asked at every look and of every experiment, so a false alarm must be rare


@dataclass(frozen=True)
class SampleRatioCheck:
    """The check of Pearson's χ².

    Attributes:
        users: of each arm.
        expected: how many they should be.
        p: of arms at least so far from plan, by chance.
        ok: the p-value is not below ``SRM_ALPHA``.
    """

    users: Mapping[str, int]
    expected: Mapping[str, float]
    p: float
    ok: bool


def check_sample_ratio(users: Mapping[str, int], planned: Mapping[str, float]) -> SampleRatioCheck:
    """Return whether ``users`` of each arm are as many as the ``planned`` shares, in any unit, make likely."""
    total, whole = sum(users.values()), sum(planned[arm] for arm in users)
    expected = {arm: total * planned[arm] / whole for arm in users}
    statistic = sum((n - expected[arm]) ** 2 / expected[arm] for arm, n in users.items())
    p = float(chi2.sf(statistic, len(users) - 1))
    return SampleRatioCheck(dict(users), expected, p, p >= SRM_ALPHA)


DEFAULT_CONTROL = "control"  # the arm that it is where nobody says which


def arm_sizes(connection: DuckDBEngine, users: Users) -> dict[str, int]:
    """Return how many users each arm has.

    Raises:
        DataError: an arm has nobody, or there is one arm only.
    """
    counted = dict(connection.execute("SELECT arm, count(*) FROM total GROUP BY arm").fetchall())
    found = {arm: counted.get(arm, 0) for arm in users.exposures.arms}
    file = users.exposures.table.file
    if len(found) < 2:
        raise DataError(f"{file}: the only arm is '{next(iter(found))}'; expected a control and at least one other arm")
    empty = [arm for arm, n in found.items() if not n]
    if empty:
        raise DataError(f"{file}: nobody of arm '{empty[0]}' was in for the whole window; give a shorter --window")
    return found


def control_arm(control: str | None, arms: Collection[str]) -> str:
    """Return the arm of ``arms`` that the others are compared with; ``DEFAULT_CONTROL`` where nobody says which.

    Raises:
        UsageError: it is not said, or there is none of this name.
    """
    if (control or DEFAULT_CONTROL) in arms:
        return control or DEFAULT_CONTROL
    if control is None:
        raise UsageError(
            f"no arm is called '{DEFAULT_CONTROL}'; say which is it with --control NAME; arms: {', '.join(arms)}"
        )
    raise UsageError(f"--control '{control}': no row has this arm{suggestion(control, list(arms))}")


def target_shares(config: ReadoutConfig, sizes: Mapping[str, int]) -> dict[str, float]:
    """Return the planned share of each arm, in any unit.

    Raises:
        UsageError: an arm has none, or one that cannot be, or is not there.
    """
    if not config.planned:
        return dict.fromkeys(sizes, 1.0)
    for arm, share in config.planned.items():
        if arm not in sizes:
            raise UsageError(f"--ratio names arm '{arm}', which no exposure has{suggestion(arm, list(sizes))}")
        if not 0 < share < inf:
            raise UsageError(f"--ratio {arm}={share:g}; expected a finite share above 0")
    lacking = [arm for arm in sizes if arm not in config.planned]
    if lacking:
        raise UsageError(f"--ratio says nothing of arm '{lacking[0]}'; give the share of each, such as {lacking[0]}=1")
    return config.planned
