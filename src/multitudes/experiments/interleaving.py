"""Team-draft interleaving: the lists of several arms become one list for one user, who decides between them.

In an A/B test users differ by much more than arms do; here each user compares the arms, so far fewer show a
difference. In every round each arm picks the best of its list that nobody has picked yet, in an order that is drawn
anew (Radlinski, Kurup and Joachims 2008; for more than two arms Schuth et al. 2014). So each arm is equally often above
the others, and that first places are looked at more favours none. An order that is always the same does favour the
first: ``benchmarks/readout`` has both.

Which of several interleaved arms users prefer: each user is the control of the other arms, and of themselves.

A row credits an arm with something that a user did with its pick. Sums of the arms over one user depend on each other,
so their covariance counts: it is what makes the interval narrow. Users who credit nobody say nothing about which arm is
better, and are in no row.

The lift is that of credit, not of what the arm would move alone: whoever gets an item of one arm needs less of the
other, so it has the sign of an A/B test and not its size.
"""

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from scipy.stats import binomtest

from multitudes.config import suggestion
from multitudes.data.duck import DuckDBEngine, translate_read_errors
from multitudes.data.engine import query_row, string_literal
from multitudes.errors import DataError, UsageError
from multitudes.experiments import outcomes
from multitudes.experiments.assignment import control_arm
from multitudes.experiments.comparison import Comparison, compare_family
from multitudes.experiments.config import ReadoutConfig
from multitudes.experiments.lift import Lift, UndefinedLift, within_user_lift
from multitudes.experiments.moments import Variables, group_moments
from multitudes.experiments.outcomes import OutcomeScan
from multitudes.experiments.users import experiment_engine, missing_day_warnings
from multitudes.progress import Progress, silent

T = TypeVar("T", bound=Hashable)


def team_draft(rankings: Mapping[str, Sequence[T]], n: int, generator: np.random.Generator) -> dict[T, str]:
    """Return one list of at most ``n`` items, best first: each with the arm whose pick it is, which is credited.

    Args:
        rankings: the list of each arm, best first; those of ``n`` items are always enough. Where one comes to its end,
            the whole ends with the last round of all arms, or the others would have more places.
        n: places.
        generator: the order of each round is drawn of it.
    """
    arms = list(rankings)
    left = [iter(rankings[arm]) for arm in arms]
    drafted: dict[T, str] = {}
    for order in generator.random((n, len(arms))).argsort(axis=1).tolist():
        picks: dict[T, str] = {}
        for arm in order[: n - len(drafted)]:
            picked = next((item for item in left[arm] if item not in drafted and item not in picks), None)
            if picked is None:
                return drafted
            picks[picked] = arms[arm]
        drafted |= picks
    return drafted


_WITH_ARM = "arm IS NOT NULL"


@dataclass(frozen=True)
class SignTest:
    """Users by which arm they credit more.

    Attributes:
        control, arm, alike: users.
        p: of as many on both sides (sign test); users count alike however much they do.
    """

    control: int
    arm: int
    alike: int
    p: float


@dataclass(frozen=True)
class InterleavingResult:
    """What interleaved lists say.

    Attributes:
        control: the arm that the others are compared with.
        metrics: metric → arm → comparison of its credit with the control's; one family for Holm's correction.
        sides: metric → arm → users by which they credit more.
        repairs: counts, by the names of ``repairs.REPAIRS``.
        warnings: sentences.
        first, last: seconds: the first and the last credit.
    """

    control: str
    metrics: dict[str, dict[str, Comparison]]
    sides: dict[str, dict[str, SignTest]]
    repairs: dict[str, int]
    warnings: list[str]
    first: int
    last: int


def analyse_interleaving(
    credits: Path, config: ReadoutConfig, progress: Progress = silent, *, now: int | None = None
) -> InterleavingResult:
    """Read the credits of interleaved lists.

    Args:
        credits: table of user_id, timestamp, arm, metric, value.
        config: of it control, metrics, tightest_at, memory_limit and threads.
        progress: called with the comparisons done.
        now: the time in seconds after which rows are in the future; the clock's by default.

    Raises:
        UsageError: there is no such table, arm or metric.
        DataError: the table cannot be used, or credits one arm alone.
        MissingError: memory or disk ran out.
    """
    with experiment_engine(config) as connection:
        survey = outcomes.scan_outcomes(connection, credits, int(time.time()) if now is None else now)
        arms, without = _create_credits(connection, survey)
        control = control_arm(config.control, arms)
        metrics = _select_metrics(config, survey)
        pairs = [(metric, arm) for metric in metrics for arm in arms if arm != control]
        lifts: dict[tuple[str, str], Lift | UndefinedLift] = {}
        sides: dict[str, dict[str, SignTest]] = {}
        for done, (metric, arm) in enumerate(pairs):
            progress(done, len(pairs), f"{metric}, {arm}")
            users = _paired_credits(metric, control, arm)
            lifts[metric, arm] = within_user_lift(
                group_moments(connection, users, Variables(("control", "treatment")))[None, None]
            )
            sides.setdefault(metric, {})[arm] = _sign_test(connection, users)
    found: dict[str, dict[str, Comparison]] = {}
    for (metric, arm), comparison in compare_family(lifts, config.tightest_at).items():
        found.setdefault(metric, {})[arm] = comparison
    repairs = {name: count for name, count in (survey.repairs | {"credits_without_arm": without}).items() if count}
    return InterleavingResult(
        control, found, sides, repairs, missing_day_warnings(survey, metrics), survey.first, survey.last
    )


def _create_credits(connection: DuckDBEngine, scan: OutcomeScan) -> tuple[list[str], int]:
    """Build ``credited``, a row for each user, metric and arm; return the arms, and how many rows name none."""
    file = scan.table.file
    if "arm" not in scan.table:
        raise DataError(f"{file}: no column 'arm'; expected the arm whose pick each row credits")
    with translate_read_errors(file):
        connection.execute(f"""
            CREATE TABLE credited AS
            SELECT user_id, metric, CAST(arm AS VARCHAR) AS name, sum(value) AS value
            FROM outcomes_raw WHERE {scan.valid_sql} AND {_WITH_ARM} GROUP BY ALL""")
        counted = query_row(
            connection, f"SELECT count(*) AS rows FROM outcomes_raw WHERE {scan.valid_sql} AND NOT {_WITH_ARM}"
        )
    arms = [row[0] for row in connection.execute("SELECT DISTINCT name FROM credited ORDER BY name").fetchall()]
    if len(arms) < 2:
        said = f"the only arm is '{arms[0]}'" if arms else "no row credits an arm"
        raise DataError(f"{file}: {said}; expected a control and at least one other arm")
    return arms, int(counted["rows"])


def _select_metrics(config: ReadoutConfig, scan: OutcomeScan) -> list[str]:
    known = list(scan.rows)
    for metric in config.metrics:
        if metric not in known:
            raise UsageError(f"--metric '{metric}': no row of {scan.table.file} has it{suggestion(metric, known)}")
    return list(dict.fromkeys(config.metrics)) or known


def _paired_credits(metric: str, control: str, arm: str) -> str:
    """Return the relation of the users who credit either arm, with what they credit each with."""
    sums = (f"coalesce(sum(value) FILTER (name = {string_literal(name)}), 0)" for name in (control, arm))
    of_control, of_arm = sums
    return f"""(SELECT NULL AS arm, NULL AS cohort, {of_control} AS control, {of_arm} AS treatment FROM credited
        WHERE metric = {string_literal(metric)} AND name IN ({string_literal(control)}, {string_literal(arm)}) GROUP BY user_id)"""


def _sign_test(connection: DuckDBEngine, users: str) -> SignTest:
    counted = query_row(
        connection,
        f"""
        SELECT count(*) FILTER (control > treatment) AS control, count(*) FILTER (control < treatment) AS arm,
               count(*) FILTER (control = treatment) AS alike FROM {users}""",
    )
    decided = counted["control"] + counted["arm"]
    return SignTest(**counted, p=float(binomtest(counted["arm"], decided).pvalue) if decided else 1.0)
