"""DuckDB as the engine on one machine: memory is limited, and tables beyond the limit are spilled to the disk."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import duckdb
import polars as pl
import pyarrow as pa

from multitudes.data.column_names import ColumnMap, reject_same_names
from multitudes.data.engine import Engine, Extent, first_line, path_literal, quote_identifier, string_literal
from multitudes.data.fetch import fetch
from multitudes.data.location import Location
from multitudes.data.schemas import COLUMN_ROLES
from multitudes.data.tables import DUCKDB_SUFFIX, list_shards
from multitudes.errors import DataError, MissingError, UsageError, is_disk_full
from multitudes.progress import Progress, silent

# A sum is finite only if every number is. The sum of an empty list is null.
_FUNCTIONS = """
    CREATE MACRO all_finite(numbers) AS
    isfinite(list_sum(CAST(numbers AS DOUBLE[]))) AND list_count(numbers) = len(numbers);
    CREATE MACRO hash_of_three(a, b, c) AS hash(a, b, c)"""

_FILE_ROW = "file_row"
_NO_SPILL = "failed to offload"  # DuckDB spills until nine tenths of the free disk space are used


class Advice(NamedTuple):
    """What to do if memory or disk space runs out, which differs between commands: the end of a sentence on each."""

    memory: str
    disk: str


PREPARE_ADVICE = Advice("raise it under [prepare]", "free some, or choose another --out")


@contextmanager
def open_engine(
    scratch: Path, memory_limit: str, threads: int, advice: Advice = PREPARE_ADVICE
) -> Iterator["DuckDBEngine"]:
    """Yield an engine whose tables are in memory and, beyond a limit such as "4GB", in the existing folder ``scratch``.

    With ``threads`` = 0 there is one for each core. ``advice`` ends the error about memory or disk space.

    Raises:
        MissingError: memory or disk space ran out.
        UsageError: the engine rejects a setting.
    """
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory_limit,
        "temp_directory": str(scratch / "spill"),
        "preserve_insertion_order": True,  # the order of rows in a file decides between events of one time
        "autoinstall_known_extensions": False,  # reading tables must not use the network
    }
    if threads:
        settings["threads"] = threads
    if memory_limit.strip().startswith("-"):  # for the engine, that means no limit
        raise UsageError(f"memory_limit = '{memory_limit}'; expected a size, such as '4GB'")
    try:
        connection = duckdb.connect(":memory:", config=settings)
    except duckdb.Error as error:
        raise UsageError(f"memory_limit = '{memory_limit}', threads = {threads}: {first_line(error)}") from None
    try:
        yield DuckDBEngine(connection, scratch)
    except duckdb.Error as error:
        if is_disk_full(error) or _NO_SPILL in str(error):
            raise MissingError(f"no space left on the disk; {advice.disk}") from error
        if isinstance(error, duckdb.OutOfMemoryException):
            limit, reason = f"memory_limit = '{memory_limit}' is too little for this data", first_line(error)
            raise MissingError(f"{limit}; {advice.memory} ({reason})") from error
        raise  # a defect of multitudes
    except RuntimeError as error:
        # This is how the engine reports Ctrl-C during a query.
        if "interrupted" in str(error):
            raise KeyboardInterrupt from None
        raise
    finally:
        connection.close()


class DuckDBEngine(Engine):
    """The engine on one machine; implements ``Engine``."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self._connection, self._scratch = connection, scratch
        self._relation_types: dict[str, str] = {}  # by name: TABLE or VIEW
        self._copies: dict[str, Path] = {}  # local copies by URL
        self._column_map = ColumnMap()
        connection.execute(_FUNCTIONS)

    def rename_columns(self, column_map: ColumnMap) -> None:
        """Let ``file_relation`` give columns other names."""
        self._column_map = column_map

    def fetch(self, file: Location, progress: Progress = silent) -> Path:
        """Copy a remote file into the scratch folder."""
        if isinstance(file, Path):
            return file
        if str(file) not in self._copies:
            folder = mkdtemp(prefix="fetched-", dir=self._scratch)
            self._copies[str(file)] = fetch(file, Path(folder), progress)
        return self._copies[str(file)]

    def execute(self, sql: str) -> duckdb.DuckDBPyConnection:
        """Run any DuckDB statement; a caller of this works with DuckDB only."""
        return self._connection.execute(sql)

    def create_table(self, name: str, sql: str) -> None:
        """Store the result of ``sql`` as a table."""
        self._connection.execute(f"CREATE TABLE new_table AS {sql}")
        if name in self._relation_types:
            self.drop(name)
        self._connection.execute(f"ALTER TABLE new_table RENAME TO {name}")
        self._relation_types[name] = "TABLE"

    def load(self, name: str, sql: str, file: Location) -> None:
        """Give ``sql`` a name; Parquet is not copied, since its columns are compressed and read one by one."""
        if file.is_dir() or file.suffix == ".parquet":
            self.create_view(name, sql)
        else:
            self.create_table(name, sql)

    def insert_frame(self, name: str, frame: pl.DataFrame) -> None:
        """Store a frame as a table."""
        self._connection.register("inserted_frame", frame.to_arrow())
        self.create_table(name, "SELECT * FROM inserted_frame")
        self._connection.unregister("inserted_frame")

    def create_view(self, name: str, sql: str) -> None:
        """Give ``sql`` a name."""
        self._connection.execute(f"CREATE VIEW {name} AS {sql}")
        self._relation_types[name] = "VIEW"

    def drop(self, *names: str) -> None:
        """Delete tables and views."""
        for name in names:
            self._connection.execute(f"DROP {self._relation_types.pop(name)} {name}")

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a result."""
        return self._connection.execute(sql).fetchall()

    def frame(self, sql: str) -> pl.DataFrame:
        """Return a result as a Polars frame."""
        result: pl.DataFrame = self._connection.sql(sql).pl()
        return result

    def batches(self, sql: str, rows: int, extent: Extent | None = None) -> Iterator[pa.RecordBatch]:
        """Yield a result batch by batch."""
        del extent
        yield from self._connection.sql(sql).to_arrow_reader(rows)

    def is_sorted(self, relation: str, column: str, where: str) -> bool:
        """Return whether the column never decreases; rows come in their order, so it is read once."""
        above = f"SELECT {column}, lag({column}) OVER () AS above FROM {relation} WHERE {where}"
        return bool(self.rows(f"SELECT coalesce(bool_and({column} >= above), true) FROM ({above})")[0][0])

    def file_relation(self, name: str, file: Location) -> str:
        """Return the relation; CSV and JSON are read completely before a type is inferred."""
        relation = self._read_relation(name, file)
        columns = [row[0] for row in self.rows(f"DESCRIBE SELECT * FROM {relation}")]
        renames = self._column_map.renames(name, columns) | ({_FILE_ROW: ""} if _FILE_ROW in columns else {})
        left_out = ", ".join(quote_identifier(column) for column, canonical in renames.items() if not canonical)
        renamed = ", ".join(
            f"{quote_identifier(column)} AS {quote_identifier(canonical)}"
            for column, canonical in renames.items()
            if canonical not in {"", column}
        )
        clauses = [f"EXCLUDE ({left_out})"] * bool(left_out) + [f"RENAME ({renamed})"] * bool(renamed)
        row_number = self._row_number_sql(relation, columns, self.fetch(file))
        return f"(SELECT {row_number} AS {_FILE_ROW}, * {' '.join(clauses)} FROM {relation})"

    def _read_relation(self, name: str, file: Location) -> str:
        file = self.fetch(file)
        if file.is_dir():
            return f"read_parquet([{_shard_list(file)}], union_by_name = true)"
        if file.suffix == DUCKDB_SUFFIX:
            database = quote_identifier(str(file))
            self._connection.execute(f"ATTACH IF NOT EXISTS {string_literal(str(file))} AS {database} (READ_ONLY)")
            return f"{database}.{quote_identifier(name)}"
        if file.suffix == ".parquet":
            return f"read_parquet({path_literal(file)})"
        if file.suffix == ".csv":
            return self._csv(name, file)
        return f"read_json({path_literal(file)}, format = 'newline_delimited', sample_size = -1)"

    def _csv(self, name: str, file: Path) -> str:
        path = path_literal(file)
        untyped = f"read_csv({path}, header = true, skip = 0, sample_size = -1"
        present = self.column_types(untyped + ")")
        if len(present) == 1 and "," in next(iter(present)):  # the reader found no separator that fits every line
            problem = "a line has not as many columns as the first; `multitudes import` says which"
            raise DataError(f"{file}: {problem}")
        first = self.rows(f"SELECT * FROM read_csv({path}, header = false, skip = 0, all_varchar = true) LIMIT 1")
        reject_same_names([name or "" for name in first[0]], str(file))
        # Ids as text: '007' is not 7. Lists as text: `tables` parses them.
        canonical = self._column_map.renames(name, present)
        roles = {column: COLUMN_ROLES[name].get(canonical.get(column, column)) for column in present}
        text = [column for column, role in roles.items() if role in {"id", "key", "text", "texts", "vector"}]
        as_text = ", ".join(f"{string_literal(column)}: 'VARCHAR'" for column in text)
        return f"{untyped}, types = {{{as_text}}})" if as_text else untyped + ")"

    def _row_number_sql(self, relation: str, columns: Sequence[str], file: Path) -> str:
        """Return the number of a row; Parquet has numbers of its own, so that its shards can be read in parallel."""
        if not relation.startswith("read_parquet") or {"file_index", "file_row_number"} & set(columns):
            return "row_number() OVER ()"
        if not file.is_dir():
            return "file_row_number + 1"
        counts = f"SELECT num_rows FROM parquet_file_metadata([{_shard_list(file)}])"
        before = list(accumulate((rows for (rows,) in self.rows(counts)), initial=0))
        return f"{before[:-1]}[CAST(file_index AS BIGINT) + 1] + file_row_number + 1"

    def column_types(self, relation: str) -> dict[str, str]:
        """Return the columns of a relation with their types."""
        rows = self.rows(f"DESCRIBE SELECT * FROM {relation}")
        return {row[0]: row[1].replace('"NULL"', "NULL") for row in rows if row[0] != _FILE_ROW}

    @contextmanager
    def translate_read_errors(self, file: Location) -> Iterator[None]:
        """Turn errors about an unreadable ``file`` into one line, with the URL in place of its local copy.

        Raises:
            DataError: the file cannot be read.
        """
        try:
            yield
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            if is_disk_full(error):
                raise
            if "not utf-8" in str(error):
                advice = "save it as UTF-8, or read it with `multitudes import`"
                raise DataError(f"{file}: is not UTF-8; {advice}") from None
            reason = first_line(error)
            for url, copy in self._copies.items():
                reason = reason.replace(str(copy), url)
            raise DataError(f"{file}: cannot be read: {reason}; write or copy the file again") from None


def _shard_list(folder: Path) -> str:
    return ", ".join(path_literal(shard) for shard in list_shards(folder))
