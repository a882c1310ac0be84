"""DuckDB as the engine of this room: bounded memory, a spill folder, and errors that a person can act on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import polars as pl

from multitudes.disk import is_full
from multitudes.errors import DataError, MissingError, UsageError


class Advice(NamedTuple):
    """What to do where memory or disk is too small, which depends on who asks."""

    memory: str
    disk: str


PREPARING = Advice("raise it under [prepare]", "free some, or choose another --out")


@contextmanager
def open_engine(
    scratch: Path, memory_limit: str, threads: int, advice: Advice = PREPARING
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection whose tables live in memory and, beyond the limit, in the folder ``scratch``.

    Args:
        scratch: an existing folder; the caller removes it.
        memory_limit: such as "4GB"; more than that is spilled to ``scratch``.
        threads: number of threads; 0 takes every core.
        advice: the end of the sentence that says what ran out.

    Raises:
        MissingError: memory or disk space ran out.
        UsageError: the engine refuses a setting.
    """
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory_limit,
        "temp_directory": str(scratch / "spill"),
        "preserve_insertion_order": True,  # the order of rows in a file decides between events of one moment
        "autoinstall_known_extensions": False,  # reading tables never asks the network
    }
    if threads:
        settings["threads"] = threads
    try:
        connection = duckdb.connect(":memory:", config=settings)
    except duckdb.Error as error:
        raise UsageError(f"memory_limit = '{memory_limit}', threads = {threads}: {first_line(error)}") from None
    try:
        yield connection
    except duckdb.Error as error:
        explained = _explained(error, memory_limit, advice)
        if explained is None:
            raise
        raise explained from error
    except RuntimeError as error:
        # What the engine makes of Ctrl-C while a query runs.
        if "interrupted" in str(error):
            raise KeyboardInterrupt from None
        raise
    finally:
        connection.close()


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Turn what the engine says about an unreadable ``file`` into one line that names it."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        if is_full(error):
            raise
        raise DataError(f"{file}: cannot be read: {first_line(error)}") from None


def value(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:  # noqa: ANN401
    """Return the single value that ``sql`` selects."""
    row = connection.execute(sql).fetchall()[0]
    return row[0]


def record(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    """Return the single row that ``sql`` selects, by column name."""
    return frame(connection, sql).row(0, named=True)


def frame(connection: duckdb.DuckDBPyConnection, sql: str) -> pl.DataFrame:
    """Return what ``sql`` selects as a Polars frame; for results that fit in memory."""
    result: pl.DataFrame = connection.sql(sql).pl()
    return result


def quoted(name: str) -> str:
    """Return ``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return ``text`` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def first_line(error: Exception) -> str:
    """Return the first line of the engine's message: the rest is a listing or advice about the engine."""
    return str(error).strip().splitlines()[0].rstrip(" .")


def _explained(error: duckdb.Error, memory_limit: str, advice: Advice) -> MissingError | None:
    """Return what the engine's error means to a person; None where it is a defect of ours."""
    if is_full(error):
        return MissingError(f"no space left on the disk; {advice.disk}")
    if isinstance(error, duckdb.OutOfMemoryException):
        return MissingError(
            f"memory_limit = '{memory_limit}' is too little for this data; {advice.memory} ({first_line(error)})"
        )
    return None
