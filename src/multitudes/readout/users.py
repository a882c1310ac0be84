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
from multitudes.data.duck import Advice, DuckDB, open_engine
from multitudes.data.engine import record, value
from multitudes.data.times import DAY_S
from multitudes.errors import DataError, UsageError
from multitudes.progress import Progress, silent
from multitudes.readout import exposures, outcomes
from multitudes.readout.config import ReadoutConfig
from multitudes.readout.exposures import Exposed
from multitudes.readout.metric import Metric, parse
from multitudes.readout.moments import Variables
from multitudes.readout.outcomes import BEFORE, Summed, Survey

_ADVICE = Advice("raise --memory-limit", "free some, or let TMPDIR name a folder on a larger disk")
_MANY = 0.01  # a share of users in two arms from which assignment is broken rather than leaking
_MOST_METRICS = 50  # so many comparisons share one error rate, and each is a column
STEPS = 4  # of loading, for progress


class Users(NamedTuple):
    """What is known once ``total`` and ``part`` stand."""

    exposed: Exposed
    survey: Survey
    names: tuple[str, ...]  # the metrics that were summed, in the order of j
    metrics: tuple[Metric, ...]
    summed: Summed
    repairs: dict[str, int]  # none that was not made
    warnings: tuple[str, ...]


class Cut(NamedTuple):
    """What winsorising did to a sum of the users."""

    of: str
    at: float
    users: int


@contextmanager
def engine(config: ReadoutConfig) -> Iterator[DuckDB]:
    """Yield the engine, which spills to a folder that goes when it does."""
    with (
        tempfile.TemporaryDirectory(prefix="multitudes-") as scratch,
        open_engine(Path(scratch), config.memory_limit, config.threads, _ADVICE) as connection,
    ):
        yield connection


def load(
    connection: DuckDB,
    exposed_file: Path,
    outcome_file: Path,
    config: ReadoutConfig,
    progress: Progress = silent,
    now: int | None = None,
) -> Users:
    """Build ``total`` and ``part`` from both tables.

    Raises:
        UsageError: there is no such table, metric or covariate.
        DataError: a table cannot be used, or no user is left.
    """
    progress(0, STEPS, f"reading {exposed_file.name}")
    exposed = exposures.clean(connection, exposed_file, config.covariates)
    progress(1, STEPS, f"looking at {outcome_file.name}")
    moment = int(time.time()) if now is None else now
    survey = outcomes.survey(connection, outcome_file, moment, exposed.first, keep_negative=config.keep_negative)
    tables.id_kind(connection, {"exposures": exposed.table, "outcomes": survey.table}, "user_id")
    metrics = _metrics(config, survey)
    names = tuple(dict.fromkeys(part for metric in metrics for part in metric.parts))
    progress(2, STEPS, f"adding up {outcome_file.name}")
    summed = outcomes.sum_up(connection, survey, names, exposed.first, config.window_days)
    progress(3, STEPS, "one row for each user")
    late = _total(connection, survey.last, len(names), config.window_days)
    repairs = {**exposed.repairs, **survey.repairs, **summed.repairs, **late}
    warnings = (*_broken_assignment(connection, exposed), *gaps(survey, names), *_clocks(connection, exposed, survey))
    kept = {name: count for name, count in repairs.items() if count}
    return Users(exposed, survey, names, metrics, summed, kept, warnings)


def _metrics(config: ReadoutConfig, survey: Survey) -> tuple[Metric, ...]:
    if not config.metrics and len(survey.rows) > _MOST_METRICS:
        raise UsageError(
            f"{survey.table.file} has {len(survey.rows):,} metrics, too many to compare at once; choose with --metric"
        )
    return tuple(dict.fromkeys(parse(text, list(survey.rows)) for text in config.metrics or survey.rows))


def in_period(period: int, names: tuple[str, ...], last: int) -> str:
    """Return the relation of users who were in for all of a period, as ``total`` but with the sums of the period."""
    _, end = outcomes.days_of(period)
    sums = "".join(f", part.m{j} AS after_{j}" for j in range(len(names)))
    after = ", ".join(f"after_{j}" for j in range(len(names)))
    return f"""(SELECT total.* EXCLUDE ({after}){sums} FROM total
        LEFT JOIN part ON part.number = total.number AND part.period = {period}
        WHERE total.time + {end * DAY_S} <= {last + 1})"""


def cut(connection: DuckDB, relation: str, of: Variables, quantile: float | None) -> tuple[Variables, list[Cut]]:
    """Return the variables winsorised: what lies above the quantile of all users is cut to it; and how often it was."""
    columns = [column for column in (*of.outcome, *of.covariates) if not column.startswith("covariate_")]
    if quantile is None or not columns or not value(connection, f"SELECT count(*) FROM {relation}"):
        return of, []
    zeros = ", ".join(f"coalesce({column}, 0) AS {column}" for column in columns)
    whole = f"(SELECT {zeros} FROM {relation})"
    asked = ", ".join(f"CAST(quantile_cont({column}, {quantile!r}) AS DOUBLE) AS {column}" for column in columns)
    cap = record(connection, f"SELECT {asked} FROM {whole}")
    above = ", ".join(f"count(*) FILTER ({column} > {cap[column]!r}) AS {column}" for column in columns)
    users = record(connection, f"SELECT {above} FROM {whole}")
    return of._replace(cap=cap), [Cut(column, cap[column], users[column]) for column in columns]


def _total(connection: DuckDB, last: int, n_metrics: int, window_days: int | None) -> dict[str, int]:
    sums = "".join(
        f", sum(m{j}) FILTER (period >= 0) AS after_{j}, sum(m{j}) FILTER (period = {BEFORE}) AS before_{j}"
        for j in range(n_metrics)
    )
    whole = "true" if window_days is None else f"time + {window_days * DAY_S} <= {last + 1}"
    connection.execute(f"""
        CREATE TABLE total AS SELECT exposed.* EXCLUDE (user_id), done.* EXCLUDE (number)
        FROM exposed LEFT JOIN (SELECT number{sums} FROM part GROUP BY number) AS done USING (number) WHERE {whole}""")
    found = record(
        connection,
        f"""
        SELECT (SELECT count(*) FROM exposed WHERE NOT ({whole})) AS users_without_whole_window,
               (SELECT count(*) FROM total WHERE time > {last}) AS users_exposed_after_the_end""",
    )
    if not value(connection, "SELECT count(*) FROM total"):
        raise DataError(
            f"no user has been in for the whole window of {window_days} days at the last outcome; give a shorter"
            " --window"
        )
    return found


def _broken_assignment(connection: DuckDB, exposed: Exposed) -> list[str]:
    both, users = exposed.repairs["users_in_two_arms"], value(connection, "SELECT count(*) FROM exposed")
    if both <= _MANY * (both + users):
        return []
    share = both / (both + users)
    return [
        f"{share:.1%} of the users were in more than one arm: the assignment is broken, and who is left is not chance"
    ]


def gaps(survey: Survey, names: Sequence[str]) -> list[str]:
    """Return a warning for each of some metrics that has days without a row."""
    return [
        f"{name} has no row on {', '.join(days[:3])}{f' and {len(days) - 3} more days' if len(days) > 3 else ''} though"
        " it has many on others: was the log whole? Those days count as 0"
        for name, days in survey.missing_days.items()
        if name in names
    ]


def _clocks(connection: DuckDB, exposed: Exposed, survey: Survey) -> list[str]:
    """Return a warning where one table says its zone and the other does not: that both are UTC is then a guess."""
    zoneless = {}
    for name, table in (("exposures", exposed.table), ("outcomes", survey.table)):
        found = connection.types(connection.source(name, table.file))["timestamp"]
        zoneless[table.file.name] = found in {"TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S"}
    if len(set(zoneless.values())) < 2:
        return []
    without, with_zone = sorted(zoneless, key=lambda name: not zoneless[name])
    return [
        f"the timestamps of {without} have no zone and are taken as UTC, those of {with_zone} are in UTC or have one:"
        " is that the same clock?"
    ]
