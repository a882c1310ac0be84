"""Team-draft interleaving: one list per user from the lists of several arms, and which arm users prefer.

In an A/B test users differ much more than arms do. Here each user compares the arms, so far fewer users show a
difference. In every round each arm picks the best item of its list that is not picked yet, in an order drawn anew
(Radlinski, Kurup and Joachims 2008; for more than two arms Schuth et al. 2014). So each arm is above the others equally
often, and position bias favours none. An order that is always the same favours the first arm
(records/readout.md).

A credit assigns an action of a user to the arm that picked the item. The sums of the arms over one user depend on each
other, so their covariance counts: it makes the interval narrow. Users who credit no arm have no row and say nothing
about which arm is better.

The lift is that of the credit, not of what the arm alone would move: a user who gets an item of one arm needs less of
the other. So it has the sign of an A/B test, not its size.
"""

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from scipy.stats import binomtest

from multitudes.config import suggestion
from multitudes.data.duck import DuckDBEngine
from multitudes.data.engine import string_literal
from multitudes.errors import DataError, UsageError
from multitudes.progress import Progress, silent
from multitudes_lab.experiments import outcomes
from multitudes_lab.experiments.assignment import control_arm
from multitudes_lab.experiments.comparison import Comparisons, compare_family
from multitudes_lab.experiments.config import ReadoutConfig
from multitudes_lab.experiments.lift import Lift, UndefinedLift, within_user_lift
from multitudes_lab.experiments.moments import group_moments
from multitudes_lab.experiments.outcomes import OutcomeScan
from multitudes_lab.experiments.users import experiment_engine, missing_day_warnings

T = TypeVar("T", bound=Hashable)

_WITH_ARM = "arm IS NOT NULL"


def team_draft(rankings: Mapping[str, Sequence[T]], n: int, generator: np.random.Generator) -> dict[T, str]:
    """Return one list of at most ``n`` items, best first, each with the arm that picked it and gets the credit.

    Args:
        rankings: the list of each arm, best first; ``n`` items of each are always enough. If one list ends, the result
            ends with the last complete round, or the other arms would have more places.
        n: number of places.
        generator: draws the order of the arms in each round.

    Returns:
        Item → arm, in the order of the list.
    """
    arms = list(rankings)
    remaining = [iter(rankings[arm]) for arm in arms]
    drafted: dict[T, str] = {}
    for order in generator.random((n, len(arms))).argsort(axis=1).tolist():
        picks: dict[T, str] = {}
        for arm in order[: n - len(drafted)]:
            item = next((item for item in remaining[arm] if item not in drafted and item not in picks), None)
            if item is None:
                return drafted
            picks[item] = arms[arm]
        drafted |= picks
    return drafted


@dataclass(frozen=True)
class SignTest:
    """Number of users by the arm that they credit more."""

    control: int
    arm: int
    alike: int
    p: float  # of equally many on both sides; each user counts once, however active


@dataclass(frozen=True)
class InterleavingResult:
    """The result of interleaved lists."""

    control: str  # the arm that the others are compared with
    metrics: Comparisons  # of the credit of each arm with the control's; one family for Holm's correction
    sides: dict[str, dict[str, SignTest]]  # metric → arm → users by the arm that they credit more
    repairs: dict[str, int]  # by the names of ``summary.REPAIRS``
    warnings: list[str]  # sentences
    first: int  # time of the first credit, seconds since 1970
    last: int  # of the last one


def analyse_interleaving(
    credits_file: Path, config: ReadoutConfig, progress: Progress = silent, *, now: int | None = None
) -> InterleavingResult:
    """Compare the credits of interleaved arms, a table of user_id, timestamp, arm, metric, value.

    Of the settings, control, metrics, tightest_at and memory_limit apply. The other arguments and the errors are those
    of ``analyse_experiment``; a table that credits only one arm is a DataError.
    """
    with experiment_engine(config) as connection:
        scan = outcomes.scan_outcomes(connection, credits_file, int(time.time()) if now is None else now)
        arms, without_arm = _create_credits(connection, scan)
        control = control_arm(config.control, arms)
        metrics = _select_metrics(config, scan)
        pairs = [(metric, arm) for metric in metrics for arm in arms if arm != control]
        lifts: dict[tuple[None, str, str], Lift | UndefinedLift] = {}
        sides: dict[str, dict[str, SignTest]] = {}
        for done, (metric, arm) in enumerate(pairs):
            progress(done, len(pairs), f"{metric}, {arm}")
            users = _paired_credits(metric, control, arm)
            moments = group_moments(connection, users, ("control", "treatment"))[None, None]
            lifts[None, metric, arm] = within_user_lift(moments)
            sides.setdefault(metric, {})[arm] = _sign_test(connection, users)
    comparisons = compare_family(lifts, config.tightest_at)[None]
    repairs = {name: n for name, n in (scan.repairs | {"credits_without_arm": without_arm}).items() if n}
    warnings = missing_day_warnings(scan, metrics)
    return InterleavingResult(control, comparisons, sides, repairs, warnings, scan.first, scan.last)


def _create_credits(connection: DuckDBEngine, scan: OutcomeScan) -> tuple[list[str], int]:
    """Create ``credited``, a row per user, metric and arm; return the arms, and the number of rows without an arm."""
    file = scan.table.file
    if "arm" not in scan.table:
        raise DataError(f"{file}: no column 'arm'; expected the arm whose pick each row credits")
    with connection.translate_read_errors(file):
        connection.execute(f"""
            CREATE TABLE credited AS
            SELECT user_id, metric, CAST(arm AS VARCHAR) AS name, sum(value) AS value
            FROM outcomes_raw WHERE {scan.valid_sql} AND {_WITH_ARM} GROUP BY ALL""")
        without_arm = connection.value(f"SELECT count(*) FROM outcomes_raw WHERE {scan.valid_sql} AND NOT {_WITH_ARM}")
    arms = [name for (name,) in connection.rows("SELECT DISTINCT name FROM credited ORDER BY name")]
    if len(arms) < 2:
        found = f"the only arm is '{arms[0]}'" if arms else "no row credits an arm"
        raise DataError(f"{file}: {found}; expected a control and at least one other arm")
    return arms, without_arm


def _select_metrics(config: ReadoutConfig, scan: OutcomeScan) -> list[str]:
    known = list(scan.rows)
    for metric in config.metrics:
        if metric not in known:
            raise UsageError(f"--metric '{metric}': no row of {scan.table.file} has it{suggestion(metric, known)}")
    return list(dict.fromkeys(config.metrics)) or known


def _paired_credits(metric: str, control: str, arm: str) -> str:
    """Return SQL of the users who credit either arm, with their credit of each."""
    control_name, arm_name = string_literal(control), string_literal(arm)
    of_control, of_arm = (f"coalesce(sum(value) FILTER (name = {name}), 0)" for name in (control_name, arm_name))
    return f"""(SELECT NULL AS arm, NULL AS cohort, {of_control} AS control, {of_arm} AS treatment FROM credited
        WHERE metric = {string_literal(metric)} AND name IN ({control_name}, {arm_name}) GROUP BY user_id)"""


def _sign_test(connection: DuckDBEngine, users: str) -> SignTest:
    counts = ", ".join(f"count(*) FILTER (control {sign} treatment)" for sign in (">", "<", "="))
    ((control, arm, alike),) = connection.rows(f"SELECT {counts} FROM {users}")
    return SignTest(control, arm, alike, float(binomtest(arm, control + arm).pvalue) if control + arm else 1.0)
