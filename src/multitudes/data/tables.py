"""The canonical tables in: Parquet, CSV or JSON lines are found, read and brought to the canonical types.

A table becomes ``<table>_raw`` in the engine: ``file_row`` (the number of the row in the file), the columns of the
file, and the optional columns that it lacks, as nulls. Nothing is repaired here: what cannot be brought to the
canonical type without loss is refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from multitudes.data import canonical, schemas
from multitudes.data.address import Address, Place, place
from multitudes.data.engine import Engine, quoted, record, value
from multitudes.data.roles import EXPECTED, ROLES, expected_in_short
from multitudes.errors import DataError, UsageError
from multitudes.ids import IdKind

TABLES = ("events", "items", "users")
SUFFIXES = (".parquet", ".csv", ".jsonl", ".ndjson")
_ALONE = (*SUFFIXES, canonical.DATABASE)  # of a table that is named by its path


@dataclass(frozen=True)
class Table:
    """One table as it was read.

    Attributes:
        name: events, items or users.
        file: where it was found; a folder of Parquet parts is one table.
        rows: its number of rows.
        missing: the number of nulls in each column that has any.
        columns: the columns of the file, in order.
        extra: those beyond the canonical ones.
    """

    name: str
    file: Place
    rows: int
    missing: Mapping[str, int]
    columns: tuple[str, ...]
    extra: tuple[str, ...]

    def __contains__(self, column: str) -> bool:
        """Return whether the file has ``column``."""
        return column in self.columns


def find(folder: str | Path, *, events_needed: bool = True) -> dict[str, Place]:
    """Return the file of each table in a folder, or the folder of its parts; items and users may be absent.

    Args:
        folder: a path, or an address (``address``).
        events_needed: whether the events may be absent too.

    Raises:
        UsageError: there is no such folder.
        DataError: events are missing though they are needed, a table is there twice, or a folder has parts of another
            format.
    """
    data = place(folder)
    if not data.is_dir():
        missing = data.no_such() if isinstance(data, Address) else "no such folder"
        missing = "a file, and expected is the folder that holds it" if data.is_file() else missing
        raise UsageError(f"{data}: {missing}; give a folder with events.parquet, items.parquet and users.parquet")
    found: dict[str, Place] = {}
    for table in TABLES:
        files = [data / f"{table}{suffix}" for suffix in SUFFIXES if (data / f"{table}{suffix}").is_file()]
        files += [parts for parts in (data / table,) if _has_parts(parts)]
        if len(files) > 1:
            raise DataError(f"{data}: {files[0].name} and {files[1].name} are both there; keep one of them")
        if files:
            found[table] = files[0]
    if events_needed and "events" not in found:
        raise DataError(
            f"{data}: no events.parquet, .csv, .jsonl or .ndjson, and no folder events of Parquet parts; expected at"
            " least the events table"
        )
    return found


def at(given: str | Path) -> Place:
    """Return the place of a table's file, of a DuckDB database that has the table, or of the folder of its parts.

    Raises:
        UsageError: there is nothing, or nothing that can be read.
        DataError: the folder has no part, or parts of another format.
    """
    path = place(given)
    if path.is_dir():
        if not _has_parts(path):
            raise DataError(
                f"{path}: no Parquet part in this folder; expected at least one. A service makes one every few minutes"
                " and when it stops"
            )
    elif not path.is_file() or path.suffix not in _ALONE:
        raise UsageError(f"{path}: no such table; give a folder of Parquet parts, or a file in {', '.join(_ALONE)}")
    return path


def _has_parts(folder: Place) -> bool:
    """Return whether it is a folder with Parquet parts.

    Raises:
        DataError: it has tables of another format, which would be left out without a word.
    """
    if not folder.is_dir():
        return False
    strange = sorted(file.name for suffix in SUFFIXES[1:] for file in folder.glob(f"*{suffix}"))
    if strange:
        raise DataError(
            f"{folder}: {strange[0]} is no Parquet, and parts of a folder are all Parquet; write it as Parquet, or take"
            " it out of the folder"
        )
    return any(folder.glob(canonical.PARTS))


def load(engine: Engine, name: str, file: Place, into: str | None = None) -> Table:
    """Read ``file`` as the table ``name`` into the engine, as ``<into>_raw`` in the canonical types.

    Raises:
        DataError: the file cannot be read, is empty, or a column is missing or of a type that would lose something.
    """
    into = into or name
    with engine.reading(file):
        columns, select = canonical.select(engine, name, file, numbered=True)
        _check(engine, name, file, select, columns)
        engine.read(f"{into}_raw", select, file)
        table = _table(engine, name, into, file, columns)
        return replace(table, missing=_missing(engine, into, columns))


def view(engine: Engine, name: str, file: Place) -> Table:
    """Read ``file`` as ``load`` does, but leave it where it is: ``<name>_raw`` is read anew by each query.

    Raises:
        DataError: as ``load``.
    """
    with engine.reading(file):
        columns, select = canonical.select(engine, name, file)
        _check(engine, name, file, select, columns)
        engine.view(f"{name}_raw", select)
    return _table(engine, name, name, file, columns)


def _table(engine: Engine, name: str, into: str, file: Place, columns: Mapping[str, str]) -> Table:
    rows = int(value(engine, f"SELECT count(*) FROM {into}_raw"))
    if not rows:
        raise DataError(f"{file}: the table has no rows; expected at least one")
    extra = tuple(column for column in columns if column not in ROLES[name])
    return Table(name, file, rows, {}, tuple(columns), extra)


def _missing(engine: Engine, name: str, columns: Iterable[str]) -> dict[str, int]:
    counted = ", ".join(f"count(*) - count({quoted(column)}) AS {quoted(column)}" for column in columns)
    return {column: nulls for column, nulls in record(engine, f"SELECT {counted} FROM {name}_raw").items() if nulls}


def id_kind(engine: Engine, tables: Mapping[str, Table], column: str) -> IdKind:
    """Return the kind of the id ``column``, which must be the same in every table that has it.

    Raises:
        DataError: integers in one table and text in another: 7 and '7' or '007' would be confused.
    """
    kinds: dict[Place, IdKind] = {}
    for name, table in tables.items():
        if column in table:
            found = engine.types(f"{name}_raw")[column]
            kinds[table.file] = "int64" if found == "BIGINT" else "string"
    if len(set(kinds.values())) > 1:
        listed = ", ".join(f"{kind} in {file.name}" for file, kind in kinds.items())
        raise DataError(f"'{column}' is {listed}; expected one type in every table. Write it as text or as integers")
    return next(iter(kinds.values()))


def put_behind(engine: Engine, name: str, first: Table, more: Table, behind: str) -> Table:
    """Put the rows of ``<behind>_raw``, the table ``more``, behind those of ``<name>_raw``; return both as one table.

    Their ids must be of one kind.

    Raises:
        DataError: a column that is not canonical is of types that do not go together.
    """
    with engine.reading(more.file):
        engine.make(f"{name}_raw", _one_behind_the_other(engine, f"{name}_raw", f"{behind}_raw", first.rows))
    engine.drop(f"{behind}_raw")
    columns = tuple(dict.fromkeys((*first.columns, *more.columns)))
    return replace(
        first,
        rows=first.rows + more.rows,
        missing=_missing(engine, name, columns),
        columns=columns,
        extra=tuple(dict.fromkeys((*first.extra, *more.extra))),
    )


def _one_behind_the_other(engine: Engine, first: str, behind: str, rows: int) -> str:
    """Return the SQL of both relations as one, by the names of their columns; what one of them lacks is null."""
    present = {relation: engine.types(relation) for relation in (first, behind)}
    columns = dict.fromkeys([*present[first], *present[behind]])
    selected = {
        relation: ", ".join(quoted(c) if c in present[relation] else f"NULL AS {quoted(c)}" for c in columns)
        for relation in present
    }
    return (
        f"SELECT file_row, {selected[first]} FROM {first}"
        f" UNION ALL SELECT file_row + {rows} AS file_row, {selected[behind]} FROM {behind}"
    )


def _check(engine: Engine, name: str, file: Place, select: str, types: Mapping[str, str]) -> None:
    problem = schemas.first_problem(name, engine.frame(f"{select} LIMIT 0"))
    if problem is None:
        return
    column, expected = problem
    role = ROLES[name][column]
    if expected == "missing":
        present = ", ".join(types)
        raise DataError(
            f"{file}: column '{column}' is missing; expected {expected_in_short(role)}. The file has: {present}"
        )
    raise DataError(f"{file}: column '{column}' is {types[column]}; expected {EXPECTED[role].format(column)}")
