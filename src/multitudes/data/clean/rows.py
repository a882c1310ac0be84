"""Rows of the items and users tables: without null ids, without copies, one per id."""

import duckdb

from multitudes.data.engine import record, value
from multitudes.data.tables import Table
from multitudes.errors import DataError


def one_per_id(connection: duckdb.DuckDBPyConnection, name: str, column: str, table: Table | None) -> dict[str, int]:
    """Build ``<name>_rows`` from ``<name>_raw`` and return what was dropped.

    Raises:
        DataError: two rows of one id say different things.
    """
    rows = record(connection, f"SELECT count(*) AS total, count({column}) AS named FROM {name}_raw")
    connection.execute(
        f"CREATE TABLE {name}_rows AS SELECT DISTINCT * EXCLUDE (file_row) FROM {name}_raw WHERE {column} IS NOT NULL"
    )
    kept = value(connection, f"SELECT count(*) FROM {name}_rows")
    twice = connection.execute(
        f"SELECT min({column}) FROM (SELECT {column} FROM {name}_rows GROUP BY {column} HAVING count(*) > 1)"
    ).fetchall()[0][0]
    if twice is not None and table is not None:
        raise DataError(f"{table.file}: {column} {twice!r} has several rows that differ; expected one row per {column}")
    connection.execute(f"DROP TABLE {name}_raw")
    return {f"{name}_with_nulls": rows["total"] - rows["named"], f"duplicate_{name}": rows["named"] - kept}
