"""DuckDB as the engine on one machine: bounded memory, a spill folder, and errors that a person can act on."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import accumulate
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import duckdb
import polars as pl
import pyarrow as pa

from multitudes.data.canonical_columns import DUCKDB_SUFFIX
from multitudes.data.engine import Extent, first_line, quote_identifier, string_literal
from multitudes.data.fetch import fetch
from multitudes.data.location import Location
from multitudes.data.schemas import COLUMN_ROLES
from multitudes.data.table_files import list_shards
from multitudes.errors import DataError, MissingError, UsageError, is_disk_full
from multitudes.progress import Progress, silent

# A sum is finite only if every number is. An empty list is no embedding.
_FUNCTIONS = """
    CREATE MACRO all_finite(numbers) AS
    isfinite(list_sum(CAST(numbers AS DOUBLE[]))) AND list_count(numbers) = len(numbers);
    CREATE MACRO hash_of_three(a, b, c) AS hash(a, b, c)"""

_NO_SPILL = "failed to offload"  # it spills to nine tenths of what the disk has free, and no further


class Advice(NamedTuple):
    """What to do where memory or disk is too small, which depends on who asks."""

    memory: str
    disk: str


PREPARE_ADVICE = Advice("raise it under [prepare]", "free some, or choose another --out")


@contextmanager
def open_engine(
    scratch: Path, memory_limit: str, threads: int, advice: Advice = PREPARE_ADVICE
) -> Iterator["DuckDBEngine"]:
    """Yield an engine whose tables live in memory and, beyond the limit, in the folder ``scratch``.

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
    if memory_limit.strip().startswith("-"):  # which the engine would take for no limit
        raise UsageError(f"memory_limit = '{memory_limit}'; expected a size, such as '4GB'")
    try:
        connection = duckdb.connect(":memory:", config=settings)
    except duckdb.Error as error:
        raise UsageError(f"memory_limit = '{memory_limit}', threads = {threads}: {first_line(error)}") from None
    try:
        yield DuckDBEngine(connection, scratch)
    except duckdb.Error as error:
        explained = _explain(error, memory_limit, advice)
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
def translate_read_errors(file: Location, copies: Mapping[str, Path] | None = None) -> Iterator[None]:
    """Turn what the engine says about an unreadable ``file`` into one line that names it, and not its copy."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        if is_disk_full(error):
            raise
        said = first_line(error)
        for address, copy in (copies or {}).items():
            said = said.replace(str(copy), address)
        raise DataError(f"{file}: cannot be read: {said}") from None


class DuckDBEngine:
    """The engine on one machine; the methods are those of ``Engine``."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self._connection, self._scratch = connection, scratch
        self._relation_types: dict[str, str] = {}  # of what has a name: a table or a view
        self._copies: dict[str, Path] = {}  # of what lies at an address
        connection.execute(_FUNCTIONS)

    def fetch(self, file: Location, progress: Progress = silent) -> Path:
        """Fetch what lies at an address into the scratch folder."""
        if isinstance(file, Path):
            return file
        if str(file) not in self._copies:
            folder = mkdtemp(prefix="fetched-", dir=self._scratch)
            self._copies[str(file)] = fetch(file, Path(folder), progress)
        return self._copies[str(file)]

    def execute(self, sql: str) -> duckdb.DuckDBPyConnection:
        """Run any statement of DuckDB's; who uses it runs on no other engine."""
        return self._connection.execute(sql)

    def create_table(self, name: str, sql: str) -> None:
        """Keep what ``sql`` selects as a table."""
        self._connection.execute(f"CREATE TABLE making AS {sql}")
        if name in self._relation_types:
            self.drop(name)
        self._connection.execute(f"ALTER TABLE making RENAME TO {name}")
        self._relation_types[name] = "TABLE"

    def load(self, name: str, sql: str, file: Location) -> None:
        """Give ``sql`` a name; Parquet stays where it lies, since its columns are smaller and read one by one."""
        if file.is_dir() or file.suffix == ".parquet":
            self.create_view(name, sql)
        else:
            self.create_table(name, sql)

    def insert_frame(self, name: str, frame: pl.DataFrame) -> None:
        """Keep a frame as a table."""
        self._connection.register("putting", frame.to_arrow())
        self.create_table(name, "SELECT * FROM putting")
        self._connection.unregister("putting")

    def create_view(self, name: str, sql: str) -> None:
        """Give ``sql`` a name."""
        self._connection.execute(f"CREATE VIEW {name} AS {sql}")
        self._relation_types[name] = "VIEW"

    def create_partitioned_view(self, name: str, sql: str, column: str) -> None:
        """Give ``sql`` a name: on one machine every row is in one place."""
        del column
        self.create_view(name, sql)

    def drop(self, *names: str) -> None:
        """Forget tables and views."""
        for name in names:
            self._connection.execute(f"DROP {self._relation_types.pop(name)} {name}")

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what ``sql`` selects."""
        return self._connection.execute(sql).fetchall()

    def frame(self, sql: str) -> pl.DataFrame:
        """Return what ``sql`` selects as a Polars frame."""
        result: pl.DataFrame = self._connection.sql(sql).pl()
        return result

    def batches(self, sql: str, rows: int, extent: Extent | None = None) -> Iterator[pa.RecordBatch]:
        """Yield what ``sql`` selects, batch by batch."""
        del extent
        yield from self._connection.sql(sql).to_arrow_reader(rows)

    def quantile(self, relation: str, column: str, share: float) -> Any:  # noqa: ANN401
        """Return the value; the literal is a decimal, which the engine counts with exactly."""
        return self.rows(f"SELECT quantile_disc({column}, {share!r}) FROM {relation}")[0][0]

    def is_sorted(self, relation: str, column: str, where: str) -> bool:
        """Return whether the column never falls: rows come in their order, so this is one reading of it."""
        above = f"SELECT {column}, lag({column}) OVER () AS above FROM {relation} WHERE {where}"
        return bool(self.rows(f"SELECT coalesce(bool_and({column} >= above), true) FROM ({above})")[0][0])

    def file_relation(self, name: str, file: Location) -> str:
        """Return the SQL relation that reads ``file``, every row of it before a type is inferred."""
        file = self.fetch(file)
        if file.is_dir():
            return f"read_parquet([{_shard_list(file)}], union_by_name = true)"
        path = string_literal(str(file))
        if file.suffix == DUCKDB_SUFFIX:
            database = quote_identifier(str(file))
            self._connection.execute(f"ATTACH IF NOT EXISTS {path} AS {database} (READ_ONLY)")
            return f"{database}.{quote_identifier(name)}"
        if file.suffix == ".parquet":
            return f"read_parquet({path})"
        if file.suffix == ".csv":
            return self._csv(name, path)
        return f"read_json({path}, format = 'newline_delimited', sample_size = -1)"

    def _csv(self, name: str, path: str) -> str:
        plain = f"read_csv({path}, header = true, sample_size = -1"
        present = self.column_types(plain + ")")
        # Ids as text: '007' is not 7. Lists as text: their notation is ours to read.
        text = [
            c
            for c, role in COLUMN_ROLES[name].items()
            if role in {"id", "key", "text", "texts", "vector"} and c in present
        ]
        as_text = ", ".join(f"{string_literal(column)}: 'VARCHAR'" for column in text)
        return f"{plain}, types = {{{as_text}}})" if as_text else plain + ")"

    def file_row_sql(self, name: str, file: Location) -> str:
        """Return the SQL; Parquet knows the rows of a file, so that its parts can be read at once."""
        file = self.fetch(file)
        relation = self.file_relation(name, file)
        if not relation.startswith("read_parquet") or {"file_index", "file_row_number"} & set(
            self.column_types(relation)
        ):
            return "row_number() OVER ()"
        if not file.is_dir():
            return "file_row_number + 1"
        counts = f"SELECT num_rows FROM parquet_file_metadata([{_shard_list(file)}])"
        before = list(accumulate((rows for (rows,) in self.rows(counts)), initial=0))
        return f"{before[:-1]}[CAST(file_index AS BIGINT) + 1] + file_row_number + 1"

    def file_format(self, file: Location) -> str:
        """Return the suffix: every file is read as it is."""
        return file.suffix

    def column_types(self, relation: str) -> dict[str, str]:
        """Return the columns of a relation with their types."""
        rows = self.rows(f"DESCRIBE SELECT * FROM {relation}")
        return {row[0]: row[1].replace('"NULL"', "NULL") for row in rows if row[0] != "file_row"}

    def translate_read_errors(self, file: Location) -> AbstractContextManager[None]:
        """Turn what the engine says about an unreadable ``file`` into one line."""
        return translate_read_errors(file, self._copies)


def _shard_list(folder: Path) -> str:
    return ", ".join(string_literal(str(part)) for part in list_shards(folder))


def _explain(error: duckdb.Error, memory_limit: str, advice: Advice) -> MissingError | None:
    """Return what the engine's error means to a person; None where it is a defect of ours."""
    if is_disk_full(error) or _NO_SPILL in str(error):
        return MissingError(f"no space left on the disk; {advice.disk}")
    if isinstance(error, duckdb.OutOfMemoryException):
        return MissingError(
            f"memory_limit = '{memory_limit}' is too little for this data; {advice.memory} ({first_line(error)})"
        )
    return None
