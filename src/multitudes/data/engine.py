"""What this room asks of an engine: one SQL, in DuckDB's dialect, whoever runs it.

The SQL of this room keeps to what both engines have (no row is changed in place, no order is left to the engine), and
what has no common form is one of the few functions that ``spark_sql`` renders. Two engines run it: DuckDB on one
machine (``duck``), and Spark on a cluster (``spark``).
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import polars as pl
import pyarrow as pa

from multitudes.data.location import Location
from multitudes.progress import Progress, silent


class Extent(NamedTuple):
    """How far an ordered result reaches, known before it is made.

    Attributes:
        rows: how many there are, about.
        numbers: what orders them first is a whole number from 0 on and below this, about evenly spread.
    """

    rows: int
    n_keys: int


class Engine(Protocol):
    """Named tables, made of SQL and read by SQL."""

    def fetch(self, file: Location, progress: Progress = silent) -> Location:
        """Fetch ``file``, once, unless it is read where it lies; return where its bytes are."""
        ...

    def create_table(self, name: str, sql: str) -> None:
        """Keep what ``sql`` selects as the table ``name``; one of that name is replaced, and may be read for it."""
        ...

    def load(self, name: str, sql: str, file: Location) -> None:
        """Give what ``sql`` selects of ``file`` a name; kept as a table unless it is as quick to read each time."""
        ...

    def insert_frame(self, name: str, frame: pl.DataFrame) -> None:
        """Keep ``frame`` as the table ``name``."""
        ...

    def create_view(self, name: str, sql: str) -> None:
        """Give ``sql`` a name; it is read anew by each query."""
        ...

    def create_partitioned_view(self, name: str, sql: str, column: str) -> None:
        """Give ``sql`` a name, as ``create_view`` does; rows of one value of ``column`` are then found in one place."""
        ...

    def drop(self, *names: str) -> None:
        """Forget tables and views, and take back what they hold."""
        ...

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what ``sql`` selects, which is little."""
        ...

    def frame(self, sql: str) -> pl.DataFrame:
        """Return what ``sql`` selects as a Polars frame; for results that fit in memory."""
        ...

    def batches(self, sql: str, rows: int, extent: Extent | None = None) -> Iterator[pa.RecordBatch]:
        """Yield what ``sql`` selects in its order, about ``rows`` at a time; for results of any size.

        With the ``extent`` an engine need not look at the rows before it can part them.
        """
        ...

    def quantile(self, relation: str, column: str, share: float) -> Any:  # noqa: ANN401
        """Return the smallest value of a column at or below which are at least ``share`` of its values, exactly."""
        ...

    def is_sorted(self, relation: str, column: str, where: str) -> bool:
        """Return whether a column never falls from row to row; False also where that is not cheap to say."""
        ...

    def file_relation(self, name: str, file: Location) -> str:
        """Return the relation that reads ``file``, the table ``name``, as it is."""
        ...

    def file_row_sql(self, name: str, file: Location) -> str:
        """Return the SQL of a row's number in the relation that ``file_relation`` gives for ``file``, from 1."""
        ...

    def file_format(self, file: Location) -> str:
        """Return the suffix of the format that ``file_relation`` reads; an engine may have converted it to Parquet."""
        ...

    def column_types(self, relation: str) -> Mapping[str, str]:
        """Return the columns of a relation with their types in DuckDB's words, without ``file_row``."""
        ...

    def translate_read_errors(self, file: Location) -> AbstractContextManager[None]:
        """Turn what the engine says about an unreadable ``file`` into a ``DataError`` of one line that names it."""
        ...


def query_value(engine: Engine, sql: str) -> Any:  # noqa: ANN401
    """Return the single value that ``sql`` selects."""
    return engine.rows(sql)[0][0]


def query_row(engine: Engine, sql: str) -> dict[str, Any]:
    """Return the single row that ``sql`` selects, by column name."""
    return engine.frame(sql).row(0, named=True)


def quote_identifier(name: str) -> str:
    """Return ``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def string_literal(text: str) -> str:
    """Return ``text`` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def double_literal(number: float) -> str:
    """Return ``number`` as an SQL double: without an exponent it is a decimal, which each engine rounds its own way."""
    text = repr(float(number))
    return text if "e" in text else f"{text}e0"


def first_line(error: Exception) -> str:
    """Return the first line of an engine's message: the rest is a listing or advice about the engine."""
    return str(error).strip().splitlines()[0].rstrip(" .")
