"""The assignment of users to arms: the control, the size of each arm, and the test for sample ratio mismatch.

If the arms are not as large as planned, who is in an arm is not random, and no other figure can be trusted.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import inf

from scipy.stats import chisquare

from multitudes.config import suggestion
from multitudes.data.duck import DuckDBEngine
from multitudes.errors import DataError, UsageError
from multitudes_lab.experiments.config import ReadoutConfig
from multitudes_lab.experiments.users import Users

DEFAULT_CONTROL = "control"  # the control arm if none is named
SRM_ALPHA = 0.001  # every look at every experiment makes this test, so a false alarm must be rare


@dataclass(frozen=True)
class SampleRatioCheck:
    """The result of Pearson's χ² test for sample ratio mismatch."""

    users: Mapping[str, int]  # of each arm
    expected: Mapping[str, float]  # users that each arm should have
    p: float  # probability of a deviation at least this large if the assignment works
    ok: bool  # p is at least ``SRM_ALPHA``


def check_sample_ratio(users: Mapping[str, int], planned: Mapping[str, float]) -> SampleRatioCheck:
    """Test whether the sizes of the arms agree with the plan, which has a share of each arm in any unit."""
    n_users, n_shares = sum(users.values()), sum(planned[arm] for arm in users)
    expected = {arm: n_users * planned[arm] / n_shares for arm in users}
    p = float(chisquare(list(users.values()), list(expected.values())).pvalue)
    return SampleRatioCheck(dict(users), expected, p, p >= SRM_ALPHA)


def arm_sizes(connection: DuckDBEngine, users: Users) -> dict[str, int]:
    """Return the number of users of each arm; raise DataError if an arm has none, or if there is only one arm."""
    counts = dict(connection.execute("SELECT arm, count(*) FROM total GROUP BY arm").fetchall())
    sizes = {arm: counts.get(arm, 0) for arm in users.exposures.arms}
    file = users.exposures.table.file
    if len(sizes) < 2:
        raise DataError(f"{file}: the only arm is '{next(iter(sizes))}'; expected a control and at least one other arm")
    empty = [arm for arm, n in sizes.items() if not n]
    if empty:
        raise DataError(f"{file}: no user of arm '{empty[0]}' has the whole window; give a shorter --window")
    return sizes


def control_arm(control: str | None, arms: Collection[str]) -> str:
    """Return ``control``, or ``DEFAULT_CONTROL`` if None; raise UsageError if ``arms`` lacks it."""
    if (control or DEFAULT_CONTROL) in arms:
        return control or DEFAULT_CONTROL
    if control is None:
        raise UsageError(f"no arm is called '{DEFAULT_CONTROL}'; name it with --control NAME; arms: {', '.join(arms)}")
    raise UsageError(f"--control '{control}': no row has this arm{suggestion(control, list(arms))}")


def target_shares(config: ReadoutConfig, sizes: Mapping[str, int]) -> dict[str, float]:
    """Return the planned share of each arm, in any unit, or equal ones; raise UsageError if one is wrong or missing."""
    if not config.planned:
        return dict.fromkeys(sizes, 1.0)
    for arm, share in config.planned.items():
        if arm not in sizes:
            raise UsageError(f"--ratio names arm '{arm}', which no exposure has{suggestion(arm, list(sizes))}")
        if not 0 < share < inf:
            raise UsageError(f"--ratio {arm}={share:g}; expected a finite share above 0")
    missing = [arm for arm in sizes if arm not in config.planned]
    if missing:
        raise UsageError(f"--ratio has no share of arm '{missing[0]}'; give one for each arm, such as {missing[0]}=1")
    return config.planned
