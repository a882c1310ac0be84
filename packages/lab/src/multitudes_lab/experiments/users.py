"""The users of an experiment and their outcomes: both tables joined, with warnings about the data.

=========== ==========================================================================================================
total       number, arm, cohort, time (of the exposure), covariate_k, and for each metric j: after_j, before_j; a user
            without outcomes has nulls, which count as 0
period_sums number, period, and m_j: the same by period since the exposure
=========== ==========================================================================================================
"""

import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from multitudes.config import suggestion
from multitudes.data import tables
from multitudes.data.duck import Advice, DuckDBEngine, open_engine
from multitudes.data.engine import quote_identifier
from multitudes.data.timestamps import DAY_S, reject_small_units
from multitudes.errors import DataError, UsageError
from multitudes.progress import Progress, silent
from multitudes_lab.experiments import outcomes
from multitudes_lab.experiments.config import Metric, ReadoutConfig, parse_metric
from multitudes_lab.experiments.moments import Group, Moments, group_moments
from multitudes_lab.experiments.outcomes import BEFORE, OutcomeScan, PeriodSums

MAX_COHORTS = 50  # a column with more values is a number or an id
NO_COHORT = "(none)"
_NUMBERS = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*")  # DuckDB's types
_COMPLETE = "user_id IS NOT NULL AND arm IS NOT NULL AND timestamp IS NOT NULL"
_ADVICE = Advice("raise --memory-limit", "free some, or set TMPDIR to a folder on a larger disk")
_BROKEN_ASSIGNMENT_SHARE = 0.01  # users in two arms: above this share the assignment is broken
_MAX_METRICS = 50  # all comparisons share one error rate, and each metric is a column
LOAD_STEPS = 4  # steps of ``load_users``, for progress


class Exposures(NamedTuple):
    """Facts about the table ``exposed``, once it exists.

    ``exposed`` has number (from 0), user_id, arm, cohort, time (of the first exposure) and covariate_0, covariate_1, …
    """

    table: tables.Table
    arms: tuple[str, ...]
    cohorts: tuple[str, ...]  # empty if all users are in one cohort
    first: int  # time of the first exposure, seconds since 1970
    repairs: dict[str, int]


class Users(NamedTuple):
    """Facts about the tables ``total`` and ``period_sums``, once they exist."""

    exposures: Exposures
    scan: OutcomeScan
    names: tuple[str, ...]  # the summed metrics, in the order of j
    metrics: tuple[Metric, ...]
    sums: PeriodSums
    repairs: dict[str, int]  # only those that were made
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class WinsorisedSum:
    """A sum that was winsorised: the value of the cap, and the number of users above it."""

    of: str
    at: float
    users: int


@contextmanager
def experiment_engine(config: ReadoutConfig) -> Iterator[DuckDBEngine]:
    """Yield an engine that spills to a temporary folder."""
    with (
        tempfile.TemporaryDirectory(prefix="multitudes-") as scratch,
        open_engine(Path(scratch), config.memory_limit, 0, _ADVICE) as connection,
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
    """Create ``total`` and ``period_sums`` from both tables; see ``analyse_experiment`` for arguments and errors."""
    progress(0, LOAD_STEPS, f"reading {exposures_file.name}")
    exposed = clean_exposures(connection, exposures_file, config.covariates)
    progress(1, LOAD_STEPS, f"scanning {outcomes_file.name}")
    now = int(time.time()) if now is None else now
    scan = outcomes.scan_outcomes(connection, outcomes_file, now, exposed.first, keep_negative=config.keep_negative)
    tables.table_id_type(connection, {"exposures": exposed.table, "outcomes": scan.table}, "user_id")
    metrics = _parse_metrics(config, scan)
    names = tuple(dict.fromkeys(term for metric in metrics for term in metric.terms))
    progress(2, LOAD_STEPS, f"summing {outcomes_file.name}")
    sums = outcomes.sum_by_period(connection, scan, names, exposed.first, config.window_days)
    progress(3, LOAD_STEPS, "one row per user")
    late = _create_total(connection, scan.last, len(names), config.window_days)
    counts = exposed.repairs | scan.repairs | sums.repairs | late
    repairs = {name: count for name, count in counts.items() if count}
    return Users(exposed, scan, names, metrics, sums, repairs, tuple(_warnings(connection, exposed, scan, names)))


def clean_exposures(connection: DuckDBEngine, file: Path, covariates: Sequence[str]) -> Exposures:
    """Create the table ``exposed``: users that are in exactly one arm, each with the first exposure."""
    with connection.translate_read_errors(file):
        table = tables.load_table(connection, "exposures", tables.resolve_table(file))
        reject_small_units(connection, "exposures_raw", file)
        _check_covariates(connection, table, covariates)
        repairs = _create_exposed(connection, covariates)
    if not connection.value("SELECT count(*) FROM exposed"):
        raise DataError(f"{file}: no user has one arm and a timestamp; expected at least one")
    cohorts = _distinct_values(connection, "cohort") if "cohort" in table else ()
    if len(cohorts) > MAX_COHORTS:
        raise DataError(
            f"{file}: column 'cohort' has {len(cohorts):,} values; expected at most {MAX_COHORTS}. Make fewer of them,"
            " or give the column another name"
        )
    cohorts = cohorts if len(cohorts) > 1 else ()
    first = int(connection.value("SELECT min(time) FROM exposed"))
    return Exposures(table, _distinct_values(connection, "arm"), cohorts, first, repairs)


def _create_exposed(connection: DuckDBEngine, covariates: Sequence[str]) -> dict[str, int]:
    numbers = [f"CAST({quote_identifier(column)} AS DOUBLE)" for column in covariates]
    fields = "".join(f", 'covariate_{k}': {number}" for k, number in enumerate(numbers))
    columns = "".join(f", first.covariate_{k} AS covariate_{k}" for k in range(len(covariates)))
    # The smallest struct is the first exposure. Ties within a second do not depend on the order of the rows.
    connection.execute(f"""
        CREATE TABLE seen AS
        SELECT user_id,
               min({{'time': timestamp, 'arm': arm, 'cohort': coalesce(cohort, '{NO_COHORT}'){fields}}}) AS first,
               count(*) AS n, min(arm) <> max(arm) AS two_arms, min(cohort) <> max(cohort) AS two_cohorts
        FROM exposures_raw WHERE {_COMPLETE} GROUP BY user_id""")
    connection.execute(f"""
        CREATE TABLE exposed AS
        SELECT CAST(row_number() OVER () - 1 AS INTEGER) AS number, user_id, first.arm AS arm, first.cohort AS cohort,
               first.time AS time{columns}
        FROM seen WHERE NOT two_arms""")
    repairs = connection.record("""
        SELECT (SELECT count(*) FROM exposures_raw) - coalesce(sum(n), 0) AS exposures_with_nulls,
               coalesce(sum(n - 1) FILTER (NOT two_arms), 0) AS repeated_exposures,
               count(*) FILTER (two_arms) AS users_in_two_arms,
               count(*) FILTER (NOT two_arms AND two_cohorts) AS users_in_two_cohorts,
               0 AS missing_covariates
        FROM seen""")
    connection.execute("DROP TABLE seen")
    for k in range(len(covariates)):
        # The mean is the same for all arms, and so favours none.
        absent = f"covariate_{k} IS NULL OR NOT isfinite(covariate_{k})"
        filled = connection.rows(f"""
            UPDATE exposed SET covariate_{k} = coalesce(
                (SELECT avg(covariate_{k}) FROM exposed WHERE NOT ({absent})), 0) WHERE {absent}""")
        repairs["missing_covariates"] += filled[0][0]
    return {name: int(count) for name, count in repairs.items()}


def _check_covariates(connection: DuckDBEngine, table: tables.Table, covariates: Sequence[str]) -> None:
    types = connection.column_types("exposures_raw")
    for column in covariates:
        if column not in table:
            others = [name for name in table.extra if _NUMBERS.fullmatch(types[name])]
            raise UsageError(f"--covariate '{column}': {table.file} has no such column{suggestion(column, others)}")
        if not _NUMBERS.fullmatch(types[column]):
            raise UsageError(f"--covariate '{column}' is {types[column]} in {table.file}; expected numbers")


def _distinct_values(connection: DuckDBEngine, column: str) -> tuple[str, ...]:
    return tuple(value for (value,) in connection.rows(f"SELECT DISTINCT {column} FROM exposed ORDER BY {column}"))


def _parse_metrics(config: ReadoutConfig, scan: OutcomeScan) -> tuple[Metric, ...]:
    if not config.metrics and len(scan.rows) > _MAX_METRICS:
        raise UsageError(
            f"{scan.table.file} has {len(scan.rows):,} metrics, too many to compare at once; choose with --metric"
        )
    return tuple(dict.fromkeys(parse_metric(text, list(scan.rows)) for text in config.metrics or scan.rows))


def period_relation(period: int, names: tuple[str, ...], last: int) -> str:
    """Return SQL of the users who have a whole period behind them: as ``total``, with the sums of the period."""
    _, end = outcomes.period_days(period)
    sums = "".join(f", period_sums.m{j} AS after_{j}" for j in range(len(names)))
    after = ", ".join(f"after_{j}" for j in range(len(names)))
    return f"""(SELECT total.* EXCLUDE ({after}){sums} FROM total
        LEFT JOIN period_sums ON period_sums.number = total.number AND period_sums.period = {period}
        WHERE total.time + {end * DAY_S} <= {last + 1})"""


def metric_moments(
    connection: DuckDBEngine, relation: str, users: Users, metric: Metric, config: ReadoutConfig
) -> tuple[dict[Group, Moments], list[WinsorisedSum]]:
    """Return the moments of a metric by group of users, and its sums that were winsorised.

    Covariates are the sums before the exposure (CUPED), and the columns of the exposures table. The latter are not
    winsorised. ``relation`` is SQL of the users, with the columns of ``total``.
    """
    columns = [users.names.index(term) for term in metric.terms]
    sums = [(f"after_{j}", f"{users.names[j]} since the exposure") for j in columns]
    if config.cuped and users.sums.covariate_s > 0:
        sums += [(f"before_{j}", f"{users.names[j]} before the exposure") for j in columns]
    numbers, capped = [f"CAST(coalesce({column}, 0) AS DOUBLE)" for column, _ in sums], []
    if config.winsorise is not None and connection.value(f"SELECT count(*) FROM {relation}"):
        caps = _select(connection, relation, (f"quantile_cont({number}, {config.winsorise!r})" for number in numbers))
        above = (f"count(*) FILTER ({number} > {cap!r})" for number, cap in zip(numbers, caps, strict=True))
        capped = list(map(WinsorisedSum, (label for _, label in sums), caps, _select(connection, relation, above)))
        numbers = [f"least({number}, {cap!r})" for number, cap in zip(numbers, caps, strict=True)]
    one = [] if metric.denominator else ["1.0"]
    given = [f"covariate_{k}" for k in range(len(config.covariates))]
    variables = [*numbers[: len(columns)], *one, *numbers[len(columns) :], *given]
    return group_moments(connection, relation, variables), capped


def _select(connection: DuckDBEngine, relation: str, figures: Iterable[str]) -> tuple[Any, ...]:
    return connection.rows(f"SELECT {', '.join(figures)} FROM {relation}")[0]


def _create_total(connection: DuckDBEngine, last: int, n_metrics: int, window_days: int | None) -> dict[str, int]:
    sums = "".join(
        f", sum(m{j}) FILTER (period >= 0) AS after_{j}, sum(m{j}) FILTER (period = {BEFORE}) AS before_{j}"
        for j in range(n_metrics)
    )
    has_window = "true" if window_days is None else f"time + {window_days * DAY_S} <= {last + 1}"
    by_user = f"(SELECT number{sums} FROM period_sums GROUP BY number)"
    connection.execute(f"""
        CREATE TABLE total AS SELECT exposed.* EXCLUDE (user_id), done.* EXCLUDE (number)
        FROM exposed LEFT JOIN {by_user} AS done USING (number) WHERE {has_window}""")
    late = connection.record(f"""
        SELECT (SELECT count(*) FROM exposed WHERE NOT ({has_window})) AS users_without_whole_window,
               (SELECT count(*) FROM total WHERE time > {last}) AS users_exposed_after_the_end""")
    if not connection.value("SELECT count(*) FROM total"):
        raise DataError(
            f"no user has a whole window of {window_days} days before the last outcome; give a shorter --window"
        )
    return late


def _warnings(connection: DuckDBEngine, exposed: Exposures, scan: OutcomeScan, names: Sequence[str]) -> Iterator[str]:
    both, users = exposed.repairs["users_in_two_arms"], connection.value("SELECT count(*) FROM exposed")
    if both > _BROKEN_ASSIGNMENT_SHARE * (both + users):
        yield (
            f"{both / (both + users):.1%} of the users were in more than one arm: the assignment is broken, and the"
            " remaining users are not a random sample"
        )
    yield from missing_day_warnings(scan, names)
    zoneless = {}
    for name, table in (("exposures", exposed.table), ("outcomes", scan.table)):
        timestamp_type = connection.column_types(connection.file_relation(name, table.file))["timestamp"]
        zoneless[table.file.name] = timestamp_type in {"TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S"}
    if len(set(zoneless.values())) > 1:  # a table without a zone is taken as UTC
        without, with_zone = sorted(zoneless, key=lambda name: not zoneless[name])
        yield (
            f"the timestamps of {without} have no zone and are taken as UTC, those of {with_zone} are in UTC or have"
            " one: do the clocks agree?"
        )


def missing_day_warnings(scan: OutcomeScan, names: Sequence[str]) -> list[str]:
    """Return a warning for each of the metrics ``names`` that lacks days."""
    return [
        f"{name} has no row on {', '.join(days[:3])}{f' and {len(days) - 3} more days' if len(days) > 3 else ''}, but"
        " many on other days: is the log complete? Those days count as 0"
        for name, days in scan.missing_days.items()
        if name in names
    ]
