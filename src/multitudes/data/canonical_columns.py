"""The SQL that reads a file in its notation, and that brings its columns to their canonical types.

What cannot be brought there without loss is left as it is, for ``schemas`` to refuse.
"""

from collections.abc import Mapping

import polars as pl

from multitudes.data import schemas
from multitudes.data.engine import Engine, query_value, quote_identifier
from multitudes.data.location import Location, file_size
from multitudes.data.schemas import COLUMN_ROLES, SQL_TYPE
from multitudes.errors import DataError

DUCKDB_SUFFIX = ".duckdb"  # a file of DuckDB's own, in which the table has the name that it has here
_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"}
_INTEGERS |= {f"U{name}" for name in _INTEGERS}


def canonical_select(
    engine: Engine, name: str, file: Location, *, numbered: bool = False
) -> tuple[Mapping[str, str], str]:
    """Return the columns of ``file`` with the types that they have there, and the SQL that reads it as table ``name``.

    The SQL has the optional columns that the file lacks, as nulls, so that no later query needs to ask; where the
    rows are ``numbered``, ``file_row`` stands before them.

    Raises:
        DataError: the file has not one byte, for which each format has words of its own.
    """
    if not file.is_dir() and not file_size(file):
        raise DataError(f"{file}: the file is empty; expected a table")
    source = engine.file_relation(name, file)
    found, notation = engine.column_types(source), engine.file_format(file)
    rows = [f"{engine.file_row_sql(name, file)} AS file_row"] if numbered else []
    expressions = [_cast_sql(engine, source, name, column, found[column], notation) for column in found]
    return found, f"SELECT {', '.join([*rows, *expressions, *_missing_columns_sql(name, found)])} FROM {source}"


def _cast_sql(engine: Engine, reader: str, name: str, column: str, found: str, notation: str) -> str:
    """Return the SQL that brings ``column`` to its canonical type, or the column as it is where that would lose."""
    role, source = COLUMN_ROLES[name].get(column), quote_identifier(column)
    sql = source
    if role not in {None, "id"} and _is_blank(engine, reader, source, found):
        sql = f"CAST(NULL AS {SQL_TYPE[role]})"
    elif role == "id":
        whole = found in _INTEGERS or (notation == ".csv" and _all_integers(engine, reader, source))
        sql = f"CAST({source} AS BIGINT)" if whole else source
    elif role == "key":
        sql = f"CAST({source} AS VARCHAR)"
    elif role == "time":
        sql = _seconds_sql(source, found)
    elif role == "number" and (found in _INTEGERS or found.startswith(("FLOAT", "DECIMAL"))):
        sql = f"CAST({source} AS DOUBLE)"
    elif role == "texts":
        sql = _string_list_sql(source, found, notation)
    elif role == "vector" and notation == ".csv":
        as_list = f"CASE WHEN {source} LIKE '[%' THEN CAST({source} AS FLOAT[])"
        sql = f"{as_list} ELSE CAST(string_split({source}, '|') AS FLOAT[]) END"
    elif role == "vector" and (_is_number_list(found) or found == "JSON[]"):
        sql = f"CAST({source} AS FLOAT[])"
    return f"{sql} AS {source}"


def _missing_columns_sql(name: str, present: Mapping[str, str]) -> list[str]:
    """Return the SQL of the optional columns that a file lacks."""
    required = {column for column, schema in schemas.SCHEMAS[name](pl.Schema()).columns.items() if schema.required}
    lacking = [column for column in COLUMN_ROLES[name] if column not in present and column not in required]
    return [f"CAST(NULL AS {SQL_TYPE[COLUMN_ROLES[name][column]]}) AS {column}" for column in lacking]


def _is_blank(engine: Engine, reader: str, column: str, found: str) -> bool:
    """Return whether a column has no value at all, from which its type could not be known."""
    untyped = found in {"NULL", "JSON", "VARCHAR", "INTEGER"}  # what the readers take such a column for
    return untyped and not query_value(
        engine, f"SELECT count(*) FROM (SELECT {column} FROM {reader} WHERE {column} IS NOT NULL LIMIT 1)"
    )


def _all_integers(engine: Engine, reader: str, column: str) -> bool:
    """Return whether every id in a text column is a whole number in its one plain notation ('007' is not)."""
    plain = f"regexp_full_match({column}, '0|-?[1-9][0-9]*') AND TRY_CAST({column} AS BIGINT) IS NOT NULL"
    return bool(
        query_value(engine, f"SELECT coalesce(bool_and({plain}), false) FROM {reader} WHERE {column} IS NOT NULL")
    )


def _seconds_sql(column: str, found: str) -> str:
    if found in _INTEGERS:
        return f"CAST({column} AS BIGINT)"
    if found.startswith(("TIMESTAMP", "DATE")):
        # Floored, not rounded; a time without a zone is taken as UTC.
        moment = f"CAST({column} AS TIMESTAMP)" if found in {"DATE", "TIMESTAMP_NS", "TIMESTAMP_MS"} else column
        return f"CAST(floor(epoch_us({moment}) / 1000000) AS BIGINT)"
    return column


def _string_list_sql(column: str, found: str, notation: str) -> str:
    if notation == ".csv":
        as_json = f"TRY_CAST(TRY_CAST({column} AS JSON) AS VARCHAR[])"
        split = f"list_transform(string_split({column}, '|'), lambda part: trim(part))"
        return f"CASE WHEN {column} LIKE '[%' THEN coalesce({as_json}, {split}) ELSE {split} END"
    if found.startswith("VARCHAR[") or found in {"JSON[]", "NULL[]"}:
        return f"CAST({column} AS VARCHAR[])"
    return column


def _is_number_list(found: str) -> bool:
    return found.startswith(("FLOAT[", "DOUBLE[", "DECIMAL", *(f"{name}[" for name in _INTEGERS))) and "[" in found
