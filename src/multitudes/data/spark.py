"""What executors read where it lies in a store: what Hadoop's file systems reach, as Arrow's reach it for the driver.

Arrow lists and digests, Hadoop reads, so both must mean the same objects: names and sizes are compared before anything
is read. An address with settings of its own (an endpoint, a key) is left to Arrow, since Hadoop does not take them.

Spark as the engine on a cluster: the same SQL, tables kept by executors, large results written by them as shards.

The driver holds no table. What a query selects in order is written as Parquet, one shard for each range of the order,
and read again shard by shard. A lost executor costs the work on its partitions, which are made anew: every row's place
comes from its values, never from where it was.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import ROUND_CEILING, Decimal
from itertools import accumulate
from pathlib import Path
from shutil import rmtree
from typing import Any
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from multitudes.data import canonical_columns, table_files
from multitudes.data.duck import DuckDBEngine
from multitudes.data.engine import Extent, first_line, quote_identifier, string_literal
from multitudes.data.location import Location, RemotePath
from multitudes.data.spark_errors import JOB_ERRORS, is_connection_lost
from multitudes.data.spark_sql import duckdb_type, render, render_with_keys
from multitudes.data.table_files import SHARD_PATTERN, list_shards
from multitudes.errors import DataError, UnavailableError, is_disk_full
from multitudes.progress import Progress, silent

_HADOOP_SCHEMES = {"s3": "s3a", "gcs": "gs"}  # of Arrow, and as Hadoop calls them


def hadoop_uri(file: RemotePath) -> str:
    """Return an address as Hadoop writes it."""
    scheme, _, rest = str(file).partition(":")
    return f"{_HADOOP_SCHEMES.get(scheme, scheme)}:{rest}"


def is_readable_in_place(session: SparkSession, file: Location) -> bool:
    """Return whether executors read a table themselves: Parquet, of a kind of store that their Hadoop knows.

    Raises:
        UnavailableError: Hadoop knows the kind, and does not see there what Arrow sees.
    """
    if not isinstance(file, RemotePath) or not file.without_options or not (file.is_dir() or file.suffix == ".parquet"):
        return False
    seen = _hadoop_sizes(session, file)
    if seen is None:
        return False
    expected = {
        part.name: part.size
        for part in (list_shards(file) if file.is_dir() else [file])
        if isinstance(part, RemotePath)
    }
    if seen != expected:
        raise UnavailableError(
            f"{file}: Hadoop sees {len(seen)} files at {hadoop_uri(file)} that are not the {len(expected)} here; set"
            " its store under [spark] conf, such as spark.hadoop.fs.s3a.endpoint"
        )
    return True


def _hadoop_sizes(session: SparkSession, file: RemotePath) -> dict[str, int] | None:
    """Return the sizes of the files of a table by name; None where Hadoop does not know this kind of store."""
    gateway: Any = session.sparkContext
    jvm, conf = gateway._jvm.org.apache.hadoop.fs, gateway._jsc.hadoopConfiguration()
    uri = hadoop_uri(file)
    try:
        jvm.FileSystem.getFileSystemClass(uri.partition(":")[0], conf)
    except JOB_ERRORS:  # not installed, on the driver at least
        return None
    path = jvm.Path(uri)
    try:
        found = path.getFileSystem(conf).listStatus(path)
    except JOB_ERRORS as error:
        raise UnavailableError(
            f"{file}: Hadoop cannot list {uri} ({first_line(error)}); set its store and credentials under [spark] conf,"
            " such as spark.hadoop.fs.s3a.endpoint"
        ) from None
    ending = SHARD_PATTERN.removeprefix("*")
    return {one.getPath().getName(): one.getLen() for one in found if one.getPath().getName().endswith(ending)}


_GLOB = re.compile(r"([\\*?\[\]{}])")
_FILE_ROW = "file_row"
_SORTED_ROWS = 1_000_000  # in one task: some hundred MB
_SHARD_PATH = re.compile(r"file:/*(/\S+?\.parquet)")


class SparkEngine:
    """The engine on a cluster; the methods are those of ``Engine``."""

    def __init__(self, session: SparkSession, scratch: Path, reader: DuckDBEngine) -> None:
        """Run on ``session``.

        Args:
            session: of Spark.
            scratch: a folder that driver and executors share.
            reader: reads what is no Parquet, on the driver.
        """
        self._session, self._scratch, self._reader = session, scratch, reader
        self._tables: dict[str, Path] = {}
        self._in_place: dict[str, list[Location]] = {}  # the files of what is read where it lies
        self._files: dict[Location, list[Location]] = {}
        self._results = 0

    def fetch(self, file: Location, progress: Progress = silent) -> Location:
        """Fetch what executors cannot read where it lies into the folder that they share."""
        return file if is_readable_in_place(self._session, file) else self._reader.fetch(file, progress)

    def create_table(self, name: str, sql: str) -> None:
        """Keep what ``sql`` selects as a table, in files that the executors write.

        One that is kept in memory brings along the plan of all before it, and plans of plans take longer than the work.
        """
        self._register(name, self._write_shards(self._query(sql)))

    def load(self, name: str, sql: str, file: Location) -> None:
        """Give ``sql`` a name: each query reads the columns that it asks for, of files that ``file_relation`` gave."""
        self.create_view(name, sql)
        self._in_place[name] = self._files[file]

    def insert_frame(self, name: str, frame: pl.DataFrame) -> None:
        """Keep a frame as a table, in a file that the driver writes."""
        self._results += 1
        folder = self._scratch / f"result-{self._results}"
        folder.mkdir()
        frame.write_parquet(folder / "part.parquet")
        self._register(name, folder)

    def create_view(self, name: str, sql: str) -> None:
        """Give ``sql`` a name."""
        self._query(sql).createOrReplaceTempView(name)

    def create_partitioned_view(self, name: str, sql: str, column: str) -> None:
        """Give ``sql`` a name, each value of ``column`` in one partition.

        Grouping by what hardly repeats is then done once, where Spark would first group within each partition.
        """
        self._query(sql).repartition(column).createOrReplaceTempView(name)

    def drop(self, *names: str) -> None:
        """Forget tables and views."""
        for name in names:
            self._in_place.pop(name, None)
            self._session.catalog.dropTempView(name)
            if name in self._tables:
                rmtree(self._tables.pop(name))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what ``sql`` selects."""
        return self.frame(sql).rows()

    def frame(self, sql: str) -> pl.DataFrame:
        """Return what ``sql`` selects as a Polars frame."""
        found = pl.from_arrow(self._query(sql).toArrow())
        assert isinstance(found, pl.DataFrame)
        return found

    def batches(self, sql: str, rows: int, extent: Extent | None = None) -> Iterator[pa.RecordBatch]:
        """Yield what ``sql`` selects from the shards that the executors wrote."""
        folder = self._write_shards(self._query(sql) if extent is None else self._partition_by_range(sql, extent))
        for shard in sorted(folder.glob(SHARD_PATTERN)):
            yield from table_files.read_batches(shard, rows)
            shard.unlink()
        rmtree(folder)

    def quantile(self, relation: str, column: str, share: float) -> Any:  # noqa: ANN401
        """Return the value, counted along the distinct ones: Spark's own would hold all of them in one task."""
        counted = f"SELECT {column} AS v, count(*) AS n FROM {relation} WHERE {column} IS NOT NULL GROUP BY {column}"
        total = self.rows(f"SELECT coalesce(sum(n), 0) FROM ({counted})")[0][0]
        rank = max(1, int((Decimal(repr(share)) * int(total)).to_integral_value(ROUND_CEILING)))
        until = f"SELECT v, sum(n) OVER (ORDER BY v) AS until FROM ({counted})"
        return self.rows(f"SELECT min(v) FROM ({until}) WHERE until >= {rank}")[0][0]

    def is_sorted(self, relation: str, column: str, where: str) -> bool:
        """Return whether it rises in the files where they lie, whatever ``where`` leaves out: the driver reads it.

        Partitions know nothing of each other, and to bring each row to the one before it costs a sort of all.
        """
        del where
        return relation in self._in_place and table_files.is_sorted(self._in_place[relation], column)

    def file_relation(self, name: str, file: Location) -> str:
        """Return the view that reads ``file``: Parquet where it lies, anything else after it was made Parquet."""
        asked, file = file, self.fetch(file)
        if file.is_dir():
            parts = list_shards(file)
            table = self._read_shards(parts)
        elif file.suffix == ".parquet":
            parts = [file]
            table = self._read_shards(parts)
        else:
            parts = [self._convert_to_parquet(name, file)]
            table = self._session.read.parquet(_uri(parts[0]))
        self._files[asked] = parts
        view = f"source_{self._results}"
        table.createOrReplaceTempView(view)
        return view

    def file_row_sql(self, name: str, file: Location) -> str:
        """Return the column that ``file_relation`` adds."""
        del name, file
        return _FILE_ROW

    def file_format(self, file: Location) -> str:
        """Return the suffix of Parquet: anything else was brought to it, in the canonical types."""
        del file
        return ".parquet"

    def column_types(self, relation: str) -> dict[str, str]:
        """Return the columns of a relation with their types."""
        found = self._session.table(relation).dtypes
        return {name: duckdb_type(kind) for name, kind in found if name != _FILE_ROW}

    @contextmanager
    def translate_read_errors(self, file: Location) -> Iterator[None]:
        """Turn what the engine says about an unreadable ``file``, or a part of it, into one line."""
        try:
            with self._reader.translate_read_errors(file):
                yield
        except JOB_ERRORS as error:
            if is_disk_full(error) or is_connection_lost(error):
                raise
            part = _SHARD_PATH.search(unquote(str(error)))
            raise DataError(f"{part[1] if part else file}: cannot be read: {first_line(error)}") from None

    def _register(self, name: str, folder: Path) -> None:
        earlier = self._tables.get(name)
        self._session.read.parquet(_uri(folder)).createOrReplaceTempView(name)
        self._tables[name] = folder
        self._in_place.pop(name, None)
        if earlier is not None:
            rmtree(earlier)

    def _query(self, sql: str) -> DataFrame:
        return self._session.sql(render(sql))

    def _partition_by_range(self, sql: str, extent: Extent) -> DataFrame:
        """Return what ``sql`` selects in ranges of the number that orders it first, each in order.

        Spark would run the query twice: once to learn from a sample where ranges should begin.
        """
        select, keys = render_with_keys(sql)
        ranges = max(self._session.sparkContext.defaultParallelism, -(-extent.rows // _SORTED_ROWS))
        number = f.expr(f"CAST({keys[0]} * {ranges} DIV {extent.n_keys} AS INT)")
        ranged = self._session.sql(select).repartitionById(ranges, number)
        return ranged.sortWithinPartitions(*keys).drop(*keys)

    def _write_shards(self, table: DataFrame) -> Path:
        """Return a folder of shards with the rows of a table, written by the executors."""
        self._results += 1
        folder = self._scratch / f"result-{self._results}"
        table.write.parquet(_uri(folder))
        return folder

    def _read_shards(self, parts: list[Location]) -> DataFrame:
        """Return the rows of files, numbered in the order of the files and of the rows in them."""
        self._results += 1
        table = self._session.read.option("mergeSchema", "true").parquet(*map(_uri, parts))
        place = f.col("_metadata.row_index") + 1
        if len(parts) == 1:
            return table.withColumn(_FILE_ROW, place)
        rows = table_files.row_counts(parts)
        before = dict(zip((part.name for part in parts), accumulate(rows, initial=0), strict=False))
        quoted_names = [uri.rpartition("/")[2] for uri in table.inputFiles()]
        places = self._session.createDataFrame(
            pa.table({"part": quoted_names, "before": [before[unquote(name)] for name in quoted_names]})
        )
        # One row for each part, as the plan can tell: where nobody asks for the number, nothing is joined.
        places = places.groupBy("part").agg(f.min("before").alias("before"))
        numbered = table.withColumn("part", f.col("_metadata.file_name")).withColumn(_FILE_ROW, place)
        return (
            numbered.join(f.broadcast(places), "part", "left")
            .withColumn(_FILE_ROW, f.col(_FILE_ROW) + f.col("before"))
            .drop("part", "before")
        )

    def _convert_to_parquet(self, name: str, file: Location) -> Path:
        """Bring a table to its canonical types on the driver, row by row, and number its rows."""
        self._results += 1
        columns, select = canonical_columns.canonical_select(self._reader, name, file, numbered=True)
        selected = ", ".join(["file_row", *map(quote_identifier, columns)])
        converted = self._scratch / f"source-{self._results}.parquet"
        self._reader.execute(
            f"COPY (SELECT {selected} FROM ({select})) TO {string_literal(str(converted))} (FORMAT parquet)"
        )
        return converted


def _uri(place: Location) -> str:
    """Return ``place`` as Spark takes it literally: on a cluster a bare path may be another file system's."""
    return _GLOB.sub(r"\\\1", f"file:{place.resolve()}" if isinstance(place, Path) else hadoop_uri(place))
