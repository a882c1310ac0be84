"""Find the canonical tables in Parquet, CSV or JSON lines, and read them with the canonical types.

A table becomes ``<table>_raw`` in the engine: ``file_row`` (the number of the row in the file), the columns of the
file, and the optional columns that it lacks, as nulls. Nothing is repaired here: a column that cannot be converted to
its canonical type without loss is rejected.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from multitudes.data import schemas
from multitudes.data.column_names import suggest_map
from multitudes.data.engine import Engine, quote_identifier
from multitudes.data.location import Location, RemotePath, parse_location
from multitudes.data.schemas import COLUMN_ROLES, EXPECTED_TYPES, REQUIRED_COLUMNS, SQL_TYPE, short_expectation
from multitudes.errors import DataError, UsageError
from multitudes.ids import IdType

TABLES = ("events", "items", "users")
SUFFIXES = (".parquet", ".csv", ".jsonl", ".ndjson")
SHARD_PATTERN = "*.parquet"  # a table is one file, or a folder of Parquet files (shards) in the order of their names
DUCKDB_SUFFIX = ".duckdb"  # a DuckDB database; the table in it has its canonical name
_SINGLE_TABLE_SUFFIXES = (*SUFFIXES, DUCKDB_SUFFIX)  # for a table that is given by its own path
_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"}
_INTEGERS |= {f"U{name}" for name in _INTEGERS}
_NUMBERS = ("FLOAT[", "DOUBLE[", "DECIMAL", "JSON[", *(f"{name}[" for name in _INTEGERS))  # in lists


@dataclass(frozen=True)
class Table:
    """A table as it was read."""

    name: str  # events, items or users
    file: Location  # or the folder of its Parquet shards
    rows: int
    columns: tuple[str, ...]  # of the file, in order

    @property
    def extra(self) -> list[str]:
        """The columns that are not canonical."""
        return [column for column in self.columns if column not in COLUMN_ROLES[self.name]]

    def __contains__(self, column: str) -> bool:
        """Return whether the file has ``column``."""
        return column in self.columns


def find_tables(folder: str | Path, *, events_needed: bool = True) -> dict[str, Location]:
    """Return the file of each table in a folder or URL, or the folder of its shards; items and users are optional.

    Raises:
        UsageError: there is no such folder.
        DataError: the events are missing, a table exists twice, or a folder has shards of another format.
    """
    data = parse_location(folder)
    if not data.is_dir():
        missing = data.describe_missing() if isinstance(data, RemotePath) else "no such folder"
        if data.is_file():
            raise UsageError(
                f"{data}: expected the folder of the tables, got a file; make one with: multitudes import {data} --out"
                " FOLDER"
            )
        raise UsageError(f"{data}: {missing}; give a folder with events.parquet, items.parquet and users.parquet")
    tables: dict[str, Location] = {}
    for table in TABLES:
        files = [data / f"{table}{suffix}" for suffix in SUFFIXES if (data / f"{table}{suffix}").is_file()]
        files += [shards for shards in (data / table,) if _has_shards(shards)]
        if len(files) > 1:
            raise DataError(f"{data}: {files[0].name} and {files[1].name} both exist; keep one of them")
        if files:
            tables[table] = files[0]
    if events_needed and "events" not in tables:
        raise DataError(
            f"{data}: no events.parquet, .csv, .jsonl or .ndjson, and no folder events of Parquet files; expected at"
            " least the events table. Files of other names and layouts: multitudes import FILES --out FOLDER"
        )
    return tables


def resolve_table(given: str | Path) -> Location:
    """Check the location of one table: its file, a DuckDB database that has it, or the folder of its shards.

    Raises:
        UsageError: there is no such file or folder, or its format is unknown.
        DataError: the folder has no shard, or shards of another format.
    """
    path = parse_location(given)
    if path.is_dir():
        if not _has_shards(path):
            raise DataError(
                f"{path}: no Parquet file in this folder; expected at least one. A service writes one every few minutes"
                " and when it stops"
            )
    elif not path.is_file() or path.suffix not in _SINGLE_TABLE_SUFFIXES:
        problem = "is no table" if path.is_file() else "no such table"
        raise UsageError(
            f"{path}: {problem}; give a folder of Parquet files, or a file in {', '.join(_SINGLE_TABLE_SUFFIXES)}"
        )
    return path


def _has_shards(folder: Location) -> bool:
    """Return whether it is a folder with Parquet files; files of another format would be ignored, and are an error."""
    if not folder.is_dir():
        return False
    others = sorted(file.name for suffix in SUFFIXES[1:] for file in folder.glob(f"*{suffix}"))
    if others:
        raise DataError(
            f"{folder}: {others[0]} is not Parquet; expected Parquet files only. Write it as Parquet, or move it out of"
            " the folder"
        )
    return any(folder.glob(SHARD_PATTERN))


def list_shards(folder: Location) -> list[Location]:
    """Return the files of a table that is a folder, in the order of their names."""
    return sorted(folder.glob(SHARD_PATTERN), key=lambda shard: shard.name)


def table_sha256(table: Location) -> str:
    """Return the SHA-256 of a table: of its file, or of the digests of its shards in order.

    Raises:
        FileNotFoundError: there is no such table.
    """
    if table.is_dir():
        digest = hashlib.sha256()
        for shard in list_shards(table):
            digest.update(bytes.fromhex(table_sha256(shard)))
        return digest.hexdigest()
    with table.open("rb") if isinstance(table, Path) else table.open() as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_table(engine: Engine, name: str, file: Location, into: str | None = None) -> Table:
    """Read a table, a file or the folder of its shards, into the relation ``<into>_raw`` with the canonical types.

    ``name`` decides its columns, and is the default of ``into``.

    Raises:
        DataError: the file cannot be read, is empty, or a column is missing or cannot be converted without loss.
    """
    relation = f"{into or name}_raw"
    with engine.translate_read_errors(file):
        columns, select = canonical_select(engine, name, file)
        _check_columns(engine, name, file, select, columns)
        engine.load(relation, select, file)
        rows = int(engine.value(f"SELECT count(*) FROM {relation}"))
        if not rows:
            raise DataError(f"{file}: the table has no rows; expected at least one")
    return Table(name, file, rows, tuple(columns))


def count_nulls(engine: Engine, table: Table) -> dict[str, int]:
    """Return the number of nulls in each column of ``<name>_raw`` that has any."""
    counted = ", ".join(f"count(*) - count({column}) AS {column}" for column in map(quote_identifier, table.columns))
    found = engine.record(f"SELECT {counted} FROM {table.name}_raw")
    return {column: nulls for column, nulls in found.items() if nulls}


def table_id_type(engine: Engine, tables: Mapping[str, Table], column: str) -> IdType:
    """Return the type of the id ``column``, which must be the same in every table that has it.

    Raises:
        DataError: the ids are integers in one table and text in another, where 7 may be '7' or '007'.
    """
    types: dict[Location, IdType] = {}
    for name, table in tables.items():
        if column in table:
            column_type = engine.column_types(f"{name}_raw")[column]
            types[table.file] = "int64" if column_type == "BIGINT" else "string"
    if len(set(types.values())) > 1:
        listed = ", ".join(f"{id_type} in {file.name}" for file, id_type in types.items())
        raise DataError(f"'{column}' is {listed}; expected one type in every table. Write it as text or as integers")
    return next(iter(types.values()))


def append_logged(engine: Engine, events: Table, logged: Table) -> Table:
    """Append the rows of ``logged_raw``, which is dropped, to ``events_raw``; return both as one table.

    Their ids have the same type.

    Raises:
        DataError: a column that is not canonical has two types that cannot be combined.
    """
    with engine.translate_read_errors(logged.file):
        present = [engine.column_types(relation) for relation in ("events_raw", "logged_raw")]
        quoted = {column: quote_identifier(column) for column in [*present[0], *present[1]]}
        ours, theirs = (  # a column that one lacks is null
            ", ".join(sql if column in types else f"NULL AS {sql}" for column, sql in quoted.items())
            for types in present
        )
        rows = f"SELECT file_row, {ours} FROM events_raw"
        more_rows = f"SELECT file_row + {events.rows} AS file_row, {theirs} FROM logged_raw"
        engine.create_table("events_raw", f"{rows} UNION ALL {more_rows}")
    engine.drop("logged_raw")
    columns = tuple(dict.fromkeys((*events.columns, *logged.columns)))
    return replace(events, rows=events.rows + logged.rows, columns=columns)


def _check_columns(engine: Engine, name: str, file: Location, select: str, types: Mapping[str, str]) -> None:
    column = schemas.first_wrong_column(name, engine.frame(f"{select} LIMIT 0").schema)
    if column is None:
        return
    role = COLUMN_ROLES[name][column]
    if column in types:
        raise DataError(f"{file}: column '{column}' is {types[column]}; expected {EXPECTED_TYPES[role].format(column)}")
    present, suggested = ", ".join(types), suggest_map(name, types)
    advice = f". Name the columns with {suggested}" if f"={column}" in suggested else ""
    raise DataError(
        f"{file}: column '{column}' is missing; expected {short_expectation(role)}. It has: {present}{advice}"
    )


def canonical_select(engine: Engine, name: str, file: Location) -> tuple[Mapping[str, str], str]:
    """Return the type of each column of a file, or of a folder of shards, and the SQL that selects it as a table.

    The SQL selects ``file_row``, the number of the row in the file, then its columns, and then the optional columns
    that it lacks, as nulls, so that later queries need not ask for them. A column that cannot be converted without loss
    keeps its type, and ``schemas`` rejects it.

    Raises:
        DataError: the file has no bytes.
    """
    if not file.is_dir() and not (file.size if isinstance(file, RemotePath) else file.stat().st_size):
        raise DataError(f"{file}: the file is empty; expected a table")  # each format would report it differently
    relation = engine.file_relation(name, file)
    types, file_format = engine.column_types(relation), engine.file_format(file)
    columns = [_cast_sql(engine, relation, name, column, types[column], file_format) for column in types]
    lacking = [
        f"CAST(NULL AS {SQL_TYPE[role]}) AS {column}"
        for column, role in COLUMN_ROLES[name].items()
        if column not in types and column not in REQUIRED_COLUMNS[name]
    ]
    return types, f"SELECT {', '.join(['file_row', *columns, *lacking])} FROM {relation}"


def _cast_sql(engine: Engine, relation: str, table: str, column: str, column_type: str, file_format: str) -> str:
    """Return the SQL that converts ``column`` to its canonical type, or the column as it is if that loses something."""
    role, source = COLUMN_ROLES[table].get(column), quote_identifier(column)
    sql = source
    if role not in {None, "id"} and _is_blank(engine, relation, source, column_type):
        sql = f"CAST(NULL AS {SQL_TYPE[role]})"
    elif role == "id":
        is_integer = column_type in _INTEGERS or (file_format == ".csv" and _all_integers(engine, relation, source))
        sql = f"CAST({source} AS BIGINT)" if is_integer else source
    elif role == "key":
        sql = f"CAST({source} AS VARCHAR)"
    elif role == "time":
        sql = _seconds_sql(source, column_type)
    elif role == "number" and (column_type in _INTEGERS or column_type.startswith(("FLOAT", "DECIMAL"))):
        sql = f"CAST({source} AS DOUBLE)"
    elif role == "texts":
        sql = _string_list_sql(source, column_type, file_format)
    elif role == "vector" and file_format == ".csv":
        as_list = f"CASE WHEN {source} LIKE '[%' THEN CAST({source} AS FLOAT[])"
        sql = f"{as_list} ELSE CAST(string_split({source}, '|') AS FLOAT[]) END"
    elif role == "vector" and column_type.count("[") == 1 and column_type.startswith(_NUMBERS):
        sql = f"TRY_CAST({source} AS FLOAT[])"  # null for a number beyond float32: a broken embedding
    return f"{sql} AS {source}"


def _is_blank(engine: Engine, relation: str, column: str, column_type: str) -> bool:
    """Return whether a column has nulls only, so that its reader could not infer a type."""
    is_untyped = column_type in {"NULL", "JSON", "VARCHAR", "INTEGER"}  # the types that readers give such a column
    return is_untyped and not engine.value(
        f"SELECT count(*) FROM (SELECT {column} FROM {relation} WHERE {column} IS NOT NULL LIMIT 1)"
    )


def _all_integers(engine: Engine, relation: str, column: str) -> bool:
    """Return whether every id in a text column is an integer without leading zeros: '007' is a text."""
    plain = f"regexp_full_match({column}, '0|-?[1-9][0-9]*') AND TRY_CAST({column} AS BIGINT) IS NOT NULL"
    return bool(engine.value(f"SELECT coalesce(bool_and({plain}), false) FROM {relation} WHERE {column} IS NOT NULL"))


def _seconds_sql(column: str, column_type: str) -> str:
    if column_type in _INTEGERS:
        return f"CAST({column} AS BIGINT)"
    if column_type.startswith(("TIMESTAMP", "DATE")):
        # Rounded down; a time without a zone is taken as UTC.
        moment = f"CAST({column} AS TIMESTAMP)" if column_type in {"DATE", "TIMESTAMP_NS", "TIMESTAMP_MS"} else column
        return f"CAST(floor(epoch_us({moment}) / 1000000) AS BIGINT)"
    return column


def _string_list_sql(column: str, column_type: str, file_format: str) -> str:
    if file_format == ".csv":
        as_json = f"TRY_CAST(TRY_CAST({column} AS JSON) AS VARCHAR[])"
        split = f"list_transform(string_split({column}, '|'), lambda part: trim(part))"
        return f"CASE WHEN {column} LIKE '[%' THEN coalesce({as_json}, {split}) ELSE {split} END"
    if column_type.startswith("VARCHAR[") or column_type in {"JSON[]", "NULL[]"}:
        return f"CAST({column} AS VARCHAR[])"
    return column
