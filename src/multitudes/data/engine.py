"""The protocol of an SQL engine; the SQL is in DuckDB's dialect.

Callers use only features that both engines have: rows are not updated, and every order is explicit.

The engines are DuckDB on one machine (``duck``) and plugins of the group ``sql_engines``, such as Spark on a cluster in
the add-on multitudes-spark, which translates the few functions without a common form.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import polars as pl

from multitudes.config import Config
from multitudes.data.column_names import ColumnMap
from multitudes.data.location import Location
from multitudes.progress import Progress, silent

if TYPE_CHECKING:  # a base install has no PyArrow
    import pyarrow as pa


class Extent(NamedTuple):
    """The size of an ordered result, known before the query runs."""

    rows: int  # approximately
    n_keys: int  # the first sort key is an integer from 0 to ``n_keys`` - 1, with about as many rows for each


class Engine(Protocol):
    """Holds named tables that are created and read by SQL; an engine is a subclass."""

    def rename_columns(self, column_map: ColumnMap) -> None:
        """Let ``file_relation`` give the columns of files the names of ``column_map`` from now on."""

    def fetch(self, file: Location, progress: Progress = silent) -> Location:
        """Copy a remote ``file`` once, unless the engine reads it where it is.

        Args:
            file: the file of a table, or the folder of its shards.
            progress: called with the MiB that have been fetched.

        Returns:
            Where the engine reads it.

        Raises:
            DataError: the file was changed while it was fetched.
            MissingError: there is not enough disk space.
            UnavailableError: the store does not answer.
        """

    def create_table(self, name: str, sql: str) -> None:
        """Store the result of ``sql`` as the table ``name``; it may read the table ``name`` that it replaces."""

    def load(self, name: str, sql: str, file: Location) -> None:
        """Give a name to ``sql``, which selects from ``file``; stored only if that is faster than reading it again."""

    def insert_frame(self, name: str, frame: pl.DataFrame) -> None:
        """Store ``frame`` as the table ``name``."""

    def create_view(self, name: str, sql: str) -> None:
        """Give a name to ``sql``, which runs again in each query that uses it."""

    def create_partitioned_view(self, name: str, sql: str, column: str) -> None:
        """Create a view ``name`` of ``sql``, rows with equal values of ``column`` on one node; by default all are."""
        del column
        self.create_view(name, sql)

    def drop(self, *names: str) -> None:
        """Delete tables and views, and free their space."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of ``sql``, a query with a small result."""

    def frame(self, sql: str) -> pl.DataFrame:
        """Return the result of ``sql``, which fits in memory, as a Polars frame."""

    def record(self, sql: str) -> dict[str, Any]:
        """Return the single row that ``sql`` selects, by column name."""
        return self.frame(sql).row(0, named=True)

    def value(self, sql: str) -> Any:  # noqa: ANN401
        """Return the single value that ``sql`` selects."""
        return self.rows(sql)[0][0]

    def batches(self, sql: str, rows: int, extent: Extent | None = None) -> "Iterator[pa.RecordBatch]":
        """Yield a result of any size in its order.

        Args:
            sql: the query.
            rows: the approximate number of rows of a batch.
            extent: the size of the result; with it, an engine can partition the rows without reading them first.
        """

    def is_sorted(self, relation: str, column: str, where: str) -> bool:
        """Return whether a column of ``relation`` never decreases from row to row, of the rows that meet ``where``.

        An engine that cannot tell cheaply returns False.
        """

    def file_relation(self, name: str, file: Location) -> str:
        """Return the SQL relation that reads ``file``, which holds the table ``name``, without conversions.

        Its columns are ``file_row``, the number of the row from 1, and those of the file with the names that
        ``rename_columns`` gave them.
        """

    def file_format(self, file: Location) -> str:
        """Return the suffix of the format that ``file_relation`` reads; an engine may convert a file to Parquet."""
        return file.suffix

    def column_types(self, relation: str) -> Mapping[str, str]:
        """Return the columns of a relation, except ``file_row``, with DuckDB's names of their types."""

    def translate_read_errors(self, file: Location) -> AbstractContextManager[None]:
        """Return a context that turns errors about an unreadable ``file`` into a ``DataError`` of one line."""


class EngineKind(Protocol):
    """What an entry point of ``multitudes.sql_engines`` names: how engines of its kind are opened."""

    settings: type[Config]  # the table [engine.options]

    def open(self, scratch: Path, config: Any) -> AbstractContextManager[Engine]:  # noqa: ANN401
        """Open an engine.

        Args:
            scratch: an existing folder for temporary files.
            config: an object of ``settings``.

        Returns:
            A context with the engine.

        Raises:
            MissingError: something that the engine needs is not installed; memory or disk space ran out.
            UnavailableError: a cluster does not answer.
        """


def quote_identifier(name: str) -> str:
    """Return ``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def string_literal(text: str) -> str:
    """Return ``text`` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def path_literal(path: Location) -> str:
    """Return a file that DuckDB reads as an SQL string: to it, ``[1]`` in a name is a pattern of other names."""
    return string_literal(escape(str(path)))


def double_literal(number: float) -> str:
    """Return ``number`` as an SQL double; without an exponent it is a decimal, which engines round their own way."""
    text = repr(float(number))
    return text if "e" in text else f"{text}e0"


def first_line(error: Exception) -> str:
    """Return the first line of an engine's message; the rest is a listing, or advice about the engine."""
    return str(error).strip().splitlines()[0].rstrip(" .")
