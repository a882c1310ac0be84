"""Rows of the items and users tables: without null ids, without copies, one per id."""

from multitudes.data.engine import Engine, record, value
from multitudes.data.tables import Table
from multitudes.errors import DataError


def one_per_id(engine: Engine, name: str, column: str, table: Table | None) -> dict[str, int]:
    """Build ``<name>_rows`` from ``<name>_raw`` and return what was dropped.

    Raises:
        DataError: two rows of one id say different things.
    """
    rows = record(engine, f"SELECT count(*) AS total, count({column}) AS named FROM {name}_raw")
    engine.make(f"{name}_rows", f"SELECT DISTINCT * EXCLUDE (file_row) FROM {name}_raw WHERE {column} IS NOT NULL")
    kept = value(engine, f"SELECT count(*) FROM {name}_rows")
    twice = value(
        engine, f"SELECT min({column}) FROM (SELECT {column} FROM {name}_rows GROUP BY {column} HAVING count(*) > 1)"
    )
    if twice is not None and table is not None:
        raise DataError(f"{table.file}: {column} {twice!r} has several rows that differ; expected one row per {column}")
    engine.drop(f"{name}_raw")
    return {f"{name}_with_nulls": rows["total"] - rows["named"], f"duplicate_{name}": rows["named"] - kept}
