"""Which user was shown which arm, and since when: one row per user."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from multitudes.config import suggestion
from multitudes.data import tables
from multitudes.data.duck import DuckDBEngine
from multitudes.data.engine import query_row, query_value, quote_identifier
from multitudes.data.timestamps import reject_small_units
from multitudes.errors import DataError, UsageError

MAX_COHORTS = 50  # a column with more values is a number or an id
NO_COHORT = "(none)"
_NUMBERS = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*")  # DuckDB's types
_COMPLETE = "user_id IS NOT NULL AND arm IS NOT NULL AND timestamp IS NOT NULL"


class Exposures(NamedTuple):
    """Facts about the table ``exposed``, once it exists.

    ``exposed`` has number (from 0), user_id, arm, cohort, time (of the first exposure) and covariate_0, covariate_1, …
    """

    table: tables.Table
    arms: tuple[str, ...]
    cohorts: tuple[str, ...]  # empty if all users are in one cohort
    first: int  # time of the first exposure, seconds since 1970
    repairs: dict[str, int]


def clean_exposures(connection: DuckDBEngine, file: Path, covariates: Sequence[str]) -> Exposures:
    """Create the table ``exposed``: users that are in exactly one arm, each with the first exposure."""
    with connection.translate_read_errors(file):
        table = tables.load_table(connection, "exposures", tables.resolve_table(file))
        reject_small_units(connection, "exposures_raw", file)
        _check_covariates(connection, table, covariates)
        repairs = _create_exposed(connection, covariates)
    if not query_value(connection, "SELECT count(*) FROM exposed"):
        raise DataError(f"{file}: no user has one arm and a timestamp; expected at least one")
    cohorts = _distinct_values(connection, "cohort") if "cohort" in table else ()
    if len(cohorts) > MAX_COHORTS:
        raise DataError(
            f"{file}: column 'cohort' has {len(cohorts):,} values; expected at most {MAX_COHORTS}. Make fewer of them,"
            " or give the column another name"
        )
    cohorts = cohorts if len(cohorts) > 1 else ()
    first = int(query_value(connection, "SELECT min(time) FROM exposed"))
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
    repairs = query_row(
        connection,
        """
        SELECT (SELECT count(*) FROM exposures_raw) - coalesce(sum(n), 0) AS exposures_with_nulls,
               coalesce(sum(n - 1) FILTER (NOT two_arms), 0) AS repeated_exposures,
               count(*) FILTER (two_arms) AS users_in_two_arms,
               count(*) FILTER (NOT two_arms AND two_cohorts) AS users_in_two_cohorts,
               0 AS missing_covariates
        FROM seen""",
    )
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
