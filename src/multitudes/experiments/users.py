"""The users of an experiment with what each did: both tables joined, and what they say about themselves.

======= ==============================================================================================================
total   number, arm, cohort, time (of the exposure), covariate_k, and for each metric j: after_j, before_j; a user
        without outcomes has nulls, which count as 0
part    number, period, and m_j: the same by days since the exposure
======= ==============================================================================================================
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from multitudes.data import tables
from multitudes.data.duck import Advice, DuckDBEngine, open_engine
from multitudes.data.engine import query_row, query_value
from multitudes.data.timestamps import DAY_S
from multitudes.errors import DataError, UsageError
from multitudes.experiments import exposures, outcomes
from multitudes.experiments.config import Metric, ReadoutConfig, parse_metric
from multitudes.experiments.exposures import Exposures
from multitudes.experiments.moments import Variables
from multitudes.experiments.outcomes import BEFORE, OutcomeScan, PeriodSums
from multitudes.progress import Progress, silent

_ADVICE = Advice("raise --memory-limit", "free some, or let TMPDIR name a folder on a larger disk")
_BROKEN_ASSIGNMENT_SHARE = 0.01  # a share of users in two arms from which assignment is broken rather than leaking
_MAX_METRICS = 50  # so many comparisons share one error rate, and each is a column
LOAD_STEPS = 4  # of loading, for progress


class Users(NamedTuple):
    """What is known once ``total`` and ``part`` stand."""

    exposures: Exposures
    scan: OutcomeScan
    names: tuple[str, ...]  # the metrics that were summed, in the order of j
    metrics: tuple[Metric, ...]
    sums: PeriodSums
    repairs: dict[str, int]  # none that was not made
    warnings: tuple[str, ...]


class WinsorisedSum(NamedTuple):
    """What winsorising did to a sum of the users."""

    of: str
    at: float
    users: int


@contextmanager
def experiment_engine(config: ReadoutConfig) -> Iterator[DuckDBEngine]:
    """Yield the engine, which spills to a folder that goes when it does."""
    with (
        tempfile.TemporaryDirectory(prefix="multitudes-") as scratch,
        open_engine(Path(scratch), config.memory_limit, config.threads, _ADVICE) as connection,
    ):
        yield connection


def load_users(
    connection: DuckDBEngine,
    exposures_file: Path,
    outcomes_file: Path,
    config: ReadoutConfig,
    progress: Progress = silent,
    now: int | None = None,
) -> Users:
    """Build ``total`` and ``part`` from both tables.

    Raises:
        UsageError: there is no such table, metric or covariate.
        DataError: a table cannot be used, or no user is left.
    """
    progress(0, LOAD_STEPS, f"reading {exposures_file.name}")
    exposed = exposures.clean_exposures(connection, exposures_file, config.covariates)
    progress(1, LOAD_STEPS, f"looking at {outcomes_file.name}")
    moment = int(time.time()) if now is None else now
    survey = outcomes.scan_outcomes(
        connection, outcomes_file, moment, exposed.first, keep_negative=config.keep_negative
    )
    tables.table_id_type(connection, {"exposures": exposed.table, "outcomes": survey.table}, "user_id")
    metrics = _parse_metrics(config, survey)
    names = tuple(dict.fromkeys(part for metric in metrics for part in metric.terms))
    progress(2, LOAD_STEPS, f"adding up {outcomes_file.name}")
    summed = outcomes.sum_by_period(connection, survey, names, exposed.first, config.window_days)
    progress(3, LOAD_STEPS, "one row for each user")
    late = _create_total(connection, survey.last, len(names), config.window_days)
    repairs = {**exposed.repairs, **survey.repairs, **summed.repairs, **late}
    warnings = (
        *_assignment_warnings(connection, exposed),
        *missing_day_warnings(survey, names),
        *_clock_warnings(connection, exposed, survey),
    )
    kept = {name: count for name, count in repairs.items() if count}
    return Users(exposed, survey, names, metrics, summed, kept, warnings)


def _parse_metrics(config: ReadoutConfig, scan: OutcomeScan) -> tuple[Metric, ...]:
    if not config.metrics and len(scan.rows) > _MAX_METRICS:
        raise UsageError(
            f"{scan.table.file} has {len(scan.rows):,} metrics, too many to compare at once; choose with --metric"
        )
    return tuple(dict.fromkeys(parse_metric(text, list(scan.rows)) for text in config.metrics or scan.rows))


def period_relation(period: int, names: tuple[str, ...], last: int) -> str:
    """Return the relation of users who were in for all of a period, as ``total`` but with the sums of the period."""
    _, end = outcomes.period_days(period)
    sums = "".join(f", part.m{j} AS after_{j}" for j in range(len(names)))
    after = ", ".join(f"after_{j}" for j in range(len(names)))
    return f"""(SELECT total.* EXCLUDE ({after}){sums} FROM total
        LEFT JOIN part ON part.number = total.number AND part.period = {period}
        WHERE total.time + {end * DAY_S} <= {last + 1})"""


def winsorise(
    connection: DuckDBEngine, relation: str, variables: Variables, quantile: float | None
) -> tuple[Variables, list[WinsorisedSum]]:
    """Return the variables winsorised: what lies above the quantile of all users is cut to it; and how often it was."""
    columns = [column for column in (*variables.outcome, *variables.covariates) if not column.startswith("covariate_")]
    if quantile is None or not columns or not query_value(connection, f"SELECT count(*) FROM {relation}"):
        return variables, []
    zeros = ", ".join(f"coalesce({column}, 0) AS {column}" for column in columns)
    whole = f"(SELECT {zeros} FROM {relation})"
    asked = ", ".join(f"CAST(quantile_cont({column}, {quantile!r}) AS DOUBLE) AS {column}" for column in columns)
    cap = query_row(connection, f"SELECT {asked} FROM {whole}")
    above = ", ".join(f"count(*) FILTER ({column} > {cap[column]!r}) AS {column}" for column in columns)
    users = query_row(connection, f"SELECT {above} FROM {whole}")
    return variables._replace(caps=cap), [WinsorisedSum(column, cap[column], users[column]) for column in columns]


def _create_total(connection: DuckDBEngine, last: int, n_metrics: int, window_days: int | None) -> dict[str, int]:
    sums = "".join(
        f", sum(m{j}) FILTER (period >= 0) AS after_{j}, sum(m{j}) FILTER (period = {BEFORE}) AS before_{j}"
        for j in range(n_metrics)
    )
    whole = "true" if window_days is None else f"time + {window_days * DAY_S} <= {last + 1}"
    connection.execute(f"""
        CREATE TABLE total AS SELECT exposed.* EXCLUDE (user_id), done.* EXCLUDE (number)
        FROM exposed LEFT JOIN (SELECT number{sums} FROM part GROUP BY number) AS done USING (number) WHERE {whole}""")
    found = query_row(
        connection,
        f"""
        SELECT (SELECT count(*) FROM exposed WHERE NOT ({whole})) AS users_without_whole_window,
               (SELECT count(*) FROM total WHERE time > {last}) AS users_exposed_after_the_end""",
    )
    if not query_value(connection, "SELECT count(*) FROM total"):
        raise DataError(
            f"no user has been in for the whole window of {window_days} days at the last outcome; give a shorter"
            " --window"
        )
    return found


def _assignment_warnings(connection: DuckDBEngine, exposed: Exposures) -> list[str]:
    both, users = exposed.repairs["users_in_two_arms"], query_value(connection, "SELECT count(*) FROM exposed")
    if both <= _BROKEN_ASSIGNMENT_SHARE * (both + users):
        return []
    share = both / (both + users)
    return [
        f"{share:.1%} of the users were in more than one arm: the assignment is broken, and who is left is not chance"
    ]


def missing_day_warnings(scan: OutcomeScan, names: Sequence[str]) -> list[str]:
    """Return a warning for each of some metrics that has days without a row."""
    return [
        f"{name} has no row on {', '.join(days[:3])}{f' and {len(days) - 3} more days' if len(days) > 3 else ''} though"
        " it has many on others: was the log whole? Those days count as 0"
        for name, days in scan.missing_days.items()
        if name in names
    ]


def _clock_warnings(connection: DuckDBEngine, exposed: Exposures, scan: OutcomeScan) -> list[str]:
    """Return a warning where one table says its zone and the other does not: that both are UTC is then a guess."""
    zoneless = {}
    for name, table in (("exposures", exposed.table), ("outcomes", scan.table)):
        found = connection.column_types(connection.file_relation(name, table.file))["timestamp"]
        zoneless[table.file.name] = found in {"TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S"}
    if len(set(zoneless.values())) < 2:
        return []
    without, with_zone = sorted(zoneless, key=lambda name: not zoneless[name])
    return [
        f"the timestamps of {without} have no zone and are taken as UTC, those of {with_zone} are in UTC or have one:"
        " is that the same clock?"
    ]
