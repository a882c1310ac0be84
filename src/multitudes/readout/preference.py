"""Which of several interleaved arms users prefer: each user is the control of the other arms, and of themselves.

A row credits an arm with something that a user did with its pick. Sums of the arms over one user depend on each other,
so their covariance counts: it is what makes the interval narrow. Users who credit nobody say nothing about which arm is
better, and are in no row.

The lift is that of credit, not of what the arm would move alone: whoever gets an item of one arm needs less of the
other, so it has the sign of an A/B test and not its size.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import binomtest

from multitudes.config import nearest
from multitudes.data.duck import DuckDB, reading
from multitudes.data.engine import literal, record
from multitudes.errors import DataError, UsageError
from multitudes.progress import Progress, silent
from multitudes.readout import outcomes
from multitudes.readout.arms import control_of
from multitudes.readout.config import ReadoutConfig
from multitudes.readout.judge import Comparison, judged
from multitudes.readout.lift import Lift, Undefined, of_pairs
from multitudes.readout.moments import Variables, measure
from multitudes.readout.outcomes import Survey
from multitudes.readout.users import engine, gaps

_WITH_ARM = "arm IS NOT NULL"


@dataclass(frozen=True)
class Sides:
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
class Preference:
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
    sides: dict[str, dict[str, Sides]]
    repairs: dict[str, int]
    warnings: list[str]
    first: int
    last: int


def preferred(
    credited: Path, config: ReadoutConfig, progress: Progress = silent, *, now: int | None = None
) -> Preference:
    """Read the credits of interleaved lists.

    Args:
        credited: table of user_id, timestamp, arm, metric, value.
        config: of it control, metrics, tightest_at, memory_limit and threads.
        progress: called with the comparisons done.
        now: the time in seconds after which rows are in the future; the clock's by default.

    Raises:
        UsageError: there is no such table, arm or metric.
        DataError: the table cannot be used, or credits one arm alone.
        MissingError: memory or disk ran out.
    """
    with engine(config) as connection:
        survey = outcomes.survey(connection, credited, int(time.time()) if now is None else now)
        arms, without = _credited(connection, survey)
        control = control_of(config.control, arms)
        metrics = _metrics(config, survey)
        pairs = [(metric, arm) for metric in metrics for arm in arms if arm != control]
        lifts: dict[tuple[str, str], Lift | Undefined] = {}
        sides: dict[str, dict[str, Sides]] = {}
        for done, (metric, arm) in enumerate(pairs):
            progress(done, len(pairs), f"{metric}, {arm}")
            users = _both(metric, control, arm)
            lifts[metric, arm] = of_pairs(measure(connection, users, Variables(("control", "treatment")))[None, None])
            sides.setdefault(metric, {})[arm] = _sides(connection, users)
    found: dict[str, dict[str, Comparison]] = {}
    for (metric, arm), comparison in judged(lifts, config.tightest_at).items():
        found.setdefault(metric, {})[arm] = comparison
    repairs = {name: count for name, count in (survey.repairs | {"credits_without_arm": without}).items() if count}
    return Preference(control, found, sides, repairs, gaps(survey, metrics), survey.first, survey.last)


def _credited(connection: DuckDB, survey: Survey) -> tuple[list[str], int]:
    """Build ``credited``, a row for each user, metric and arm; return the arms, and how many rows name none."""
    file = survey.table.file
    if "arm" not in survey.table:
        raise DataError(f"{file}: no column 'arm'; expected the arm whose pick each row credits")
    with reading(file):
        connection.execute(f"""
            CREATE TABLE credited AS
            SELECT user_id, metric, CAST(arm AS VARCHAR) AS name, sum(value) AS value
            FROM outcomes_raw WHERE {survey.sound} AND {_WITH_ARM} GROUP BY ALL""")
        counted = record(
            connection, f"SELECT count(*) AS rows FROM outcomes_raw WHERE {survey.sound} AND NOT {_WITH_ARM}"
        )
    arms = [row[0] for row in connection.execute("SELECT DISTINCT name FROM credited ORDER BY name").fetchall()]
    if len(arms) < 2:
        said = f"the only arm is '{arms[0]}'" if arms else "no row credits an arm"
        raise DataError(f"{file}: {said}; expected a control and at least one other arm")
    return arms, int(counted["rows"])


def _metrics(config: ReadoutConfig, survey: Survey) -> list[str]:
    known = list(survey.rows)
    for metric in config.metrics:
        if metric not in known:
            raise UsageError(f"--metric '{metric}': no row of {survey.table.file} has it{nearest(metric, known)}")
    return list(dict.fromkeys(config.metrics)) or known


def _both(metric: str, control: str, arm: str) -> str:
    """Return the relation of the users who credit either arm, with what they credit each with."""
    sums = (f"coalesce(sum(value) FILTER (name = {literal(name)}), 0)" for name in (control, arm))
    of_control, of_arm = sums
    return f"""(SELECT NULL AS arm, NULL AS cohort, {of_control} AS control, {of_arm} AS treatment FROM credited
        WHERE metric = {literal(metric)} AND name IN ({literal(control)}, {literal(arm)}) GROUP BY user_id)"""


def _sides(connection: DuckDB, users: str) -> Sides:
    counted = record(
        connection,
        f"""
        SELECT count(*) FILTER (control > treatment) AS control, count(*) FILTER (control < treatment) AS arm,
               count(*) FILTER (control = treatment) AS alike FROM {users}""",
    )
    decided = counted["control"] + counted["arm"]
    return Sides(**counted, p=float(binomtest(counted["arm"], decided).pvalue) if decided else 1.0)
