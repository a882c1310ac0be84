"""The canonical tables in: Parquet, CSV or JSON lines are found, read and brought to the canonical types.

A table becomes ``<table>_raw`` in the engine: ``file_row`` (the number of the row in the file), the columns of the
file, and the optional columns that it lacks, as nulls. Nothing is repaired here: what cannot be brought to the
canonical type without loss is refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import polars as pl

from multitudes.data import schemas
from multitudes.data.engine import frame, literal, quoted, reading, record, value
from multitudes.errors import DataError, UsageError
from multitudes.ids import IdKind

TABLES = ("events", "items", "users")
SUFFIXES = (".parquet", ".csv", ".jsonl", ".ndjson")

Role = Literal["id", "time", "text", "number", "flag", "texts", "vector"]
ROLES: Mapping[str, Mapping[str, Role]] = {
    "events": {
        "user_id": "id",
        "item_id": "id",
        "timestamp": "time",
        "action": "text",
        "rating": "number",
        "source_interest": "text",
        "valid": "flag",
    },
    "items": {"item_id": "id", "topics": "texts", "title": "text", "embedding": "vector"},
    "users": {"user_id": "id", "followed_topics": "texts"},
    "item_ids": {"item_id": "id"},  # no table of a data set: items that leave a release
}
_SQL_TYPE: Mapping[Role, str] = {
    "time": "BIGINT",
    "text": "VARCHAR",
    "number": "DOUBLE",
    "flag": "BOOLEAN",
    "texts": "VARCHAR[]",
    "vector": "FLOAT[]",
}
_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"}
_INTEGERS |= {f"U{name}" for name in _INTEGERS}
_EXPECTED: Mapping[Role, str] = {
    "id": "int64 or string, because a number with a fraction cannot tell large ids apart. Write the ids as integers or"
    " text",
    "time": "int64 seconds or a timestamp type. Convert with CAST(epoch({0}) AS BIGINT), or parse the text first",
    "text": "text. Convert with CAST({0} AS VARCHAR)",
    "number": "a number. Convert with CAST({0} AS DOUBLE)",
    "flag": "true or false. Convert with CAST({0} AS BOOLEAN)",
    "texts": "a list of texts. Convert with string_split({0}, '|') in DuckDB or pl.col('{0}').str.split('|') in Polars",
    "vector": "a list of numbers of one width. Convert with CAST({0} AS FLOAT[])",
}


@dataclass(frozen=True)
class Table:
    """One table as it was read.

    Attributes:
        name: events, items or users.
        file: where it was found.
        rows: its number of rows.
        missing: the number of nulls in each column that has any.
        columns: the columns of the file, in order.
        extra: those beyond the canonical ones.
    """

    name: str
    file: Path
    rows: int
    missing: Mapping[str, int]
    columns: tuple[str, ...]
    extra: tuple[str, ...]

    def __contains__(self, column: str) -> bool:
        """Return whether the file has ``column``."""
        return column in self.columns


def find(data: Path) -> dict[str, Path]:
    """Return the file of each table in the folder ``data``; items and users may be absent.

    Raises:
        UsageError: ``data`` is no folder.
        DataError: events are missing, or a table is there twice.
    """
    if not data.is_dir():
        raise UsageError(f"{data}: no such folder; give one with events.parquet, items.parquet and users.parquet")
    found: dict[str, Path] = {}
    for table in TABLES:
        files = [data / f"{table}{suffix}" for suffix in SUFFIXES if (data / f"{table}{suffix}").is_file()]
        if len(files) > 1:
            raise DataError(f"{data}: {files[0].name} and {files[1].name} are both there; keep one of them")
        if files:
            found[table] = files[0]
    if "events" not in found:
        raise DataError(f"{data}: no events.parquet, .csv, .jsonl or .ndjson; expected at least the events table")
    return found


def load(connection: duckdb.DuckDBPyConnection, name: str, file: Path) -> Table:
    """Read ``file`` into the engine as ``<name>_raw`` in the canonical types.

    Raises:
        DataError: the file cannot be read, is empty, or a column is missing or of a type that would lose something.
    """
    with reading(file):
        reader = _reader(connection, name, file)
        types = _types(connection, reader)
        expressions = [_canonical(connection, reader, name, column, types[column], file) for column in types]
        expressions += _absent(name, types)
        select = f"SELECT {', '.join(expressions)} FROM {reader}"
        _check(connection, name, file, select, types)
        connection.execute(
            f"CREATE TABLE {name}_raw AS SELECT row_number() OVER () AS file_row, * FROM ({select}) AS canonical"
        )
    rows = int(value(connection, f"SELECT count(*) FROM {name}_raw"))
    if not rows:
        raise DataError(f"{file}: the table has no rows; expected at least one")
    extra = tuple(column for column in types if column not in ROLES[name])
    return Table(name, file, rows, _missing(connection, name, types), tuple(types), extra)


def _missing(connection: duckdb.DuckDBPyConnection, name: str, columns: Iterable[str]) -> dict[str, int]:
    counted = ", ".join(f"count(*) - count({quoted(column)}) AS {quoted(column)}" for column in columns)
    return {column: nulls for column, nulls in record(connection, f"SELECT {counted} FROM {name}_raw").items() if nulls}


def id_kind(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Table], column: str) -> IdKind:
    """Return the kind of the id ``column``, which must be the same in every table that has it.

    Raises:
        DataError: integers in one table and text in another: 7 and '7' or '007' would be confused.
    """
    kinds: dict[str, IdKind] = {}
    for name, table in tables.items():
        if column in table:
            found = _types(connection, f"{name}_raw")[column]
            kinds[table.file.name] = "int64" if found == "BIGINT" else "string"
    if len(set(kinds.values())) > 1:
        listed = ", ".join(f"{kind} in {file}" for file, kind in kinds.items())
        raise DataError(f"'{column}' is {listed}; expected one type in every table. Write it as text or as integers")
    return next(iter(kinds.values()))


def _reader(connection: duckdb.DuckDBPyConnection, name: str, file: Path) -> str:
    """Return the SQL table function that reads ``file``, every row of it before a type is inferred."""
    path = literal(str(file))
    if file.suffix == ".parquet":
        return f"read_parquet({path})"
    if file.suffix == ".csv":
        plain = f"read_csv({path}, header = true, sample_size = -1"
        present = _types(connection, plain + ")")
        # Ids as text: '007' is not 7. Lists as text: their notation is ours to read.
        text = [c for c, role in ROLES[name].items() if role in {"id", "text", "texts", "vector"} and c in present]
        types = ", ".join(f"{literal(column)}: 'VARCHAR'" for column in text)
        return f"{plain}, types = {{{types}}})" if types else plain + ")"
    return f"read_json({path}, format = 'newline_delimited', sample_size = -1)"


def _types(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    rows = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    return {row[0]: row[1].replace('"NULL"', "NULL") for row in rows if row[0] != "file_row"}


def _canonical(
    connection: duckdb.DuckDBPyConnection, reader: str, name: str, column: str, found: str, file: Path
) -> str:
    """Return the SQL that brings ``column`` to its canonical type, or the column as it is where that would lose."""
    role, source = ROLES[name].get(column), quoted(column)
    sql = source
    if role not in {None, "id"} and _is_blank(connection, reader, source, found):
        sql = f"CAST(NULL AS {_SQL_TYPE[role]})"
    elif role == "id":
        whole = found in _INTEGERS or (file.suffix == ".csv" and _all_whole(connection, reader, source))
        sql = f"CAST({source} AS BIGINT)" if whole else source
    elif role == "time":
        sql = _seconds(source, found)
    elif role == "number" and (found in _INTEGERS or found.startswith(("FLOAT", "DECIMAL"))):
        sql = f"CAST({source} AS DOUBLE)"
    elif role == "texts":
        sql = _texts(source, found, file)
    elif role == "vector" and (_is_numbers(found) or file.suffix == ".csv" or found == "JSON[]"):
        sql = f"CAST({source} AS FLOAT[])"
    return f"{sql} AS {source}"


def _absent(name: str, types: Mapping[str, str]) -> list[str]:
    """Return the SQL of the optional columns that the file lacks: nulls, so that no later query needs to ask."""
    required = {column for column, schema in schemas.SCHEMAS[name](pl.Schema()).columns.items() if schema.required}
    lacking = [column for column in ROLES[name] if column not in types and column not in required]
    return [f"CAST(NULL AS {_SQL_TYPE[ROLES[name][column]]}) AS {column}" for column in lacking]


def _is_blank(connection: duckdb.DuckDBPyConnection, reader: str, column: str, found: str) -> bool:
    """Return whether a column has no value at all, from which its type could not be known."""
    untyped = found in {"NULL", "JSON", "VARCHAR", "INTEGER"}  # what the readers take such a column for
    return untyped and not value(connection, f"SELECT count({column}) FROM {reader}")


def _all_whole(connection: duckdb.DuckDBPyConnection, reader: str, column: str) -> bool:
    """Return whether every id in a text column is a whole number in its one plain notation ('007' is not)."""
    plain = f"regexp_full_match({column}, '0|-?[1-9][0-9]*') AND TRY_CAST({column} AS BIGINT) IS NOT NULL"
    return bool(
        value(connection, f"SELECT coalesce(bool_and({plain}), false) FROM {reader} WHERE {column} IS NOT NULL")
    )


def _seconds(column: str, found: str) -> str:
    if found in _INTEGERS:
        return f"CAST({column} AS BIGINT)"
    if found.startswith(("TIMESTAMP", "DATE")):
        # Floored, not rounded; a time without a zone is taken as UTC.
        moment = f"CAST({column} AS TIMESTAMP)" if found in {"DATE", "TIMESTAMP_NS", "TIMESTAMP_MS"} else column
        return f"CAST(floor(epoch_us({moment}) / 1000000) AS BIGINT)"
    return column


def _texts(column: str, found: str, file: Path) -> str:
    if file.suffix == ".csv":
        as_json = f"TRY_CAST(TRY_CAST({column} AS JSON) AS VARCHAR[])"
        split = f"list_transform(string_split({column}, '|'), lambda part: trim(part))"
        return f"CASE WHEN {column} LIKE '[%' THEN coalesce({as_json}, {split}) ELSE {split} END"
    if found.startswith("VARCHAR[") or found in {"JSON[]", "NULL[]"}:
        return f"CAST({column} AS VARCHAR[])"
    return column


def _is_numbers(found: str) -> bool:
    return found.startswith(("FLOAT[", "DOUBLE[", "DECIMAL", *(f"{name}[" for name in _INTEGERS))) and "[" in found


def _check(connection: duckdb.DuckDBPyConnection, name: str, file: Path, select: str, types: Mapping[str, str]) -> None:
    problem = schemas.first_problem(name, frame(connection, f"{select} LIMIT 0"))
    if problem is None:
        return
    column, expected = problem
    role = ROLES[name][column]
    if expected == "missing":
        present = ", ".join(types)
        raise DataError(f"{file}: column '{column}' is missing; expected {_short(role)}. The file has: {present}")
    raise DataError(f"{file}: column '{column}' is {types[column]}; expected {_EXPECTED[role].format(column)}")


def _short(role: Role) -> str:
    return _EXPECTED[role].split(". ", maxsplit=1)[0].split(", because", maxsplit=1)[0]
