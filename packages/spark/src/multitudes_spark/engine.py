"""Spark as the engine on a cluster: the same SQL, with tables kept by executors as Parquet shards.

The driver holds no table. A result in order is written as one shard for each range of the order, and read shard by
shard. If an executor is lost, its partitions are computed again with the same result, since the position of every row
follows from its values.

Executors read a remote table themselves if Hadoop knows its store. Arrow lists it and computes its digest, and Hadoop
reads it, so the names and sizes that both see are compared first. A URL with options (an endpoint, a key) is fetched by
Arrow, since Hadoop does not take them.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, count
from pathlib import Path
from shutil import rmtree
from typing import Any
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
from pyarrow import parquet
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from multitudes.data.column_names import ColumnMap
from multitudes.data.duck import DuckDBEngine
from multitudes.data.engine import Engine, Extent, first_line, quote_identifier, string_literal
from multitudes.data.location import Location, RemotePath, open_for_arrow
from multitudes.data.tables import SHARD_PATTERN, canonical_select, list_shards
from multitudes.errors import ArtefactError, DataError, UnavailableError, is_disk_full
from multitudes.progress import Progress, silent
from multitudes_spark.errors import JOB_ERRORS, is_connection_lost
from multitudes_spark.sql import duckdb_type, render, render_with_keys

_HADOOP_SCHEMES = {"s3": "s3a", "gcs": "gs"}  # Arrow's name of a scheme → Hadoop's
_GLOB = re.compile(r"([\\*?\[\]{}])")
_FILE_ROW = "file_row"
_SORTED_ROWS = 1_000_000  # per task: a few hundred MB
_COMPARED_ROWS = 262_144  # values of a column that are compared at a time
_SHARD_PATH = re.compile(r"file:/*(/\S+?\.parquet)")


class SparkEngine(Engine):
    """The engine on a cluster; implements ``Engine``."""

    def __init__(self, session: SparkSession, scratch: Path, reader: DuckDBEngine) -> None:
        """Run on a session, with a folder that driver and executors share; ``reader`` converts on the driver."""
        self._session, self._scratch, self._reader = session, scratch, reader
        self._tables: dict[str, Path] = {}
        self._in_place: dict[str, list[Location]] = {}  # the files of tables that were not copied
        self._files: dict[Location, list[Location]] = {}
        self._numbers = count(1)  # of its files and views
        self._column_map = ColumnMap()

    def rename_columns(self, column_map: ColumnMap) -> None:
        """Let ``file_relation`` give columns other names; the reader renames those of files that it converts."""
        self._column_map = column_map
        self._reader.rename_columns(column_map)

    def fetch(self, file: Location, progress: Progress = silent) -> Location:
        """Copy a table that executors cannot read where it is into the shared folder."""
        return file if is_readable_in_place(self._session, file) else self._reader.fetch(file, progress)

    def create_table(self, name: str, sql: str) -> None:
        """Store the result of ``sql`` in files that the executors write.

        A table in memory would carry the query plans of all tables before it, which take longer than the work itself.
        """
        self._register(name, self._write_shards(self._query(sql)))

    def load(self, name: str, sql: str, file: Location) -> None:
        """Give ``sql`` a name; each query reads the columns that it needs from the files of ``file_relation``."""
        self.create_view(name, sql)
        self._in_place[name] = self._files[file]

    def insert_frame(self, name: str, frame: pl.DataFrame) -> None:
        """Store a frame in a file that the driver writes."""
        folder = self._scratch / f"result-{next(self._numbers)}"
        folder.mkdir()
        frame.write_parquet(folder / "part.parquet")
        self._register(name, folder)

    def create_view(self, name: str, sql: str) -> None:
        """Create a view."""
        self._query(sql).createOrReplaceTempView(name)

    def create_partitioned_view(self, name: str, sql: str, column: str) -> None:
        """Create a view with each value of ``column`` in one partition.

        A column with few repeats is then grouped once; Spark would first group within each partition.
        """
        self._query(sql).repartition(column).createOrReplaceTempView(name)

    def drop(self, *names: str) -> None:
        """Delete tables and views."""
        for name in names:
            self._in_place.pop(name, None)
            self._session.catalog.dropTempView(name)
            if name in self._tables:
                rmtree(self._tables.pop(name))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a result."""
        return self.frame(sql).rows()

    def frame(self, sql: str) -> pl.DataFrame:
        """Return a result as a Polars frame."""
        frame = pl.from_arrow(self._query(sql).toArrow())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def batches(self, sql: str, rows: int, extent: Extent | None = None) -> Iterator[pa.RecordBatch]:
        """Yield a result from the shards that the executors wrote."""
        folder = self._write_shards(self._query(sql) if extent is None else self._partition_by_range(sql, extent))
        for shard in sorted(folder.glob(SHARD_PATTERN)):
            yield from read_batches(shard, rows)
            shard.unlink()
        rmtree(folder)

    def is_sorted(self, relation: str, column: str, where: str) -> bool:
        """Return whether the column never decreases in its files, all rows included; the driver reads them.

        Partitions do not know each other, so that comparing each row with the one before it would need a full sort.
        """
        del where
        if self._column_map or relation not in self._in_place:
            return False
        return _is_sorted(self._in_place[relation], column)

    def file_relation(self, name: str, file: Location) -> str:
        """Return a view of ``file``; a file that is not Parquet is converted first."""
        given, file = file, self.fetch(file)
        if file.is_dir() or file.suffix == ".parquet":
            self._files[given] = list_shards(file) if file.is_dir() else [file]
            table = self._read_shards(self._files[given])
        else:
            self._files[given] = [self._convert_to_parquet(name, file)]
            table = self._session.read.parquet(_uri(self._files[given][0]))
        for column, canonical in self._column_map.renames(name, table.columns).items():
            table = table.withColumnRenamed(column, canonical) if canonical else table.drop(column)
        view = f"source_{next(self._numbers)}"
        table.createOrReplaceTempView(view)
        return view

    def file_format(self, file: Location) -> str:
        """Return the suffix of Parquet: other formats were converted to it, with the canonical types."""
        del file
        return ".parquet"

    def column_types(self, relation: str) -> dict[str, str]:
        """Return the columns of a relation with their types."""
        types = self._session.table(relation).dtypes
        return {name: duckdb_type(spark_type) for name, spark_type in types if name != _FILE_ROW}

    @contextmanager
    def translate_read_errors(self, file: Location) -> Iterator[None]:
        """Turn errors about an unreadable ``file``, or a shard of it, into one line."""
        try:
            with self._reader.translate_read_errors(file):
                yield
        except JOB_ERRORS as error:
            if is_disk_full(error) or is_connection_lost(error):
                raise
            shard = _SHARD_PATH.search(unquote(str(error)))
            raise DataError(f"{shard[1] if shard else file}: cannot be read: {first_line(error)}") from None

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
        """Return a result partitioned by ranges of its first sort key, each partition in order.

        Spark's own range partitioning would run the query twice, first to sample the bounds of the ranges.
        """
        select, keys = render_with_keys(sql)
        ranges = max(self._session.sparkContext.defaultParallelism, -(-extent.rows // _SORTED_ROWS))
        range_number = f.expr(f"CAST({keys[0]} * {ranges} DIV {extent.n_keys} AS INT)")
        ranged = self._session.sql(select).repartitionById(ranges, range_number)
        return ranged.sortWithinPartitions(*keys).drop(*keys)

    def _write_shards(self, table: DataFrame) -> Path:
        """Let the executors write a table as shards, and return their folder."""
        folder = self._scratch / f"result-{next(self._numbers)}"
        table.write.parquet(_uri(folder))
        return folder

    def _read_shards(self, shards: list[Location]) -> DataFrame:
        """Return the rows of shards, numbered in the order of the shards and of the rows in them."""
        table = self._session.read.option("mergeSchema", "true").parquet(*map(_uri, shards))
        number_in_shard = f.col("_metadata.row_index") + 1
        if len(shards) == 1:
            return table.withColumn(_FILE_ROW, number_in_shard)
        rows = [parquet.read_metadata(open_for_arrow(shard)).num_rows for shard in shards]
        rows_before = dict(zip((shard.name for shard in shards), accumulate(rows, initial=0), strict=False))
        quoted_names = [uri.rpartition("/")[2] for uri in table.inputFiles()]
        offsets = self._session.createDataFrame(
            pa.table({"part": quoted_names, "before": [rows_before[unquote(name)] for name in quoted_names]})
        )
        # The grouping tells the planner that each shard has one row, so that it omits the join if the number is unused.
        offsets = offsets.groupBy("part").agg(f.min("before").alias("before"))
        numbered = table.withColumn("part", f.col("_metadata.file_name")).withColumn(_FILE_ROW, number_in_shard)
        return (
            numbered.join(f.broadcast(offsets), "part", "left")
            .withColumn(_FILE_ROW, f.col(_FILE_ROW) + f.col("before"))
            .drop("part", "before")
        )

    def _convert_to_parquet(self, name: str, file: Location) -> Path:
        """Convert a table to Parquet with the canonical types and row numbers, on the driver."""
        columns, select = canonical_select(self._reader, name, file)
        selected = ", ".join(["file_row", *map(quote_identifier, columns)])
        converted = self._scratch / f"source-{next(self._numbers)}.parquet"
        self._reader.execute(
            f"COPY (SELECT {selected} FROM ({select})) TO {string_literal(str(converted))} (FORMAT parquet)"
        )
        return converted


def read_batches(shard: Location, rows: int, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield ``columns`` of a shard, None: all, in batches of at most ``rows`` rows.

    Raises:
        ArtefactError: the shard is missing, damaged or cut short.
    """
    try:
        with parquet.ParquetFile(open_for_arrow(shard)) as file:
            yield from file.iter_batches(rows, columns=columns)
    except FileNotFoundError:
        raise ArtefactError(f"{shard}: missing; run the command again") from None
    except (pa.ArrowInvalid, OSError) as error:
        if is_disk_full(error):
            raise
        raise ArtefactError(f"{shard}: damaged or cut short; run the command again") from None


def _is_sorted(shards: Sequence[Location], column: str) -> bool:
    """Return whether a column never decreases, within the shards and from one to the next; False if in doubt."""
    last = None
    try:
        types = {parquet.read_schema(open_for_arrow(shard)).field(column).type for shard in shards}
        if len(types) > 1:  # such as seconds and milliseconds
            return False
        for batch in (batch for shard in shards for batch in read_batches(shard, _COMPARED_ROWS, [column])):
            values = batch.column(0).drop_null().to_numpy(zero_copy_only=False)
            if len(values):
                if (last is not None and values[0] < last) or (values[1:] < values[:-1]).any():
                    return False
                last = values[-1]
    except (pa.ArrowException, OSError, KeyError, ArtefactError):  # the next reader reports what is wrong with the file
        return False
    return True


def _uri(location: Location) -> str:
    """Return a URI that Spark does not interpret: wildcards are escaped, and a local path says that it is local."""
    return _GLOB.sub(r"\\\1", f"file:{location.resolve()}" if isinstance(location, Path) else hadoop_uri(location))


def hadoop_uri(file: RemotePath) -> str:
    """Return the URL of a remote file in Hadoop's notation."""
    scheme, _, rest = str(file).partition(":")
    return f"{_HADOOP_SCHEMES.get(scheme, scheme)}:{rest}"


def is_readable_in_place(session: SparkSession, file: Location) -> bool:
    """Return whether executors read a table themselves: it is Parquet, in a kind of store that Hadoop knows.

    Raises:
        UnavailableError: Hadoop knows the store, but sees other files than Arrow.
    """
    if not isinstance(file, RemotePath) or not file.without_options or not (file.is_dir() or file.suffix == ".parquet"):
        return False
    sizes = _hadoop_sizes(session, file)
    if sizes is None:
        return False
    expected = {
        shard.name: shard.size
        for shard in (list_shards(file) if file.is_dir() else [file])
        if isinstance(shard, RemotePath)
    }
    if sizes != expected:
        raise UnavailableError(
            f"{file}: Hadoop sees {len(sizes)} files at {hadoop_uri(file)} that are not the {len(expected)} here; set"
            " its store under [engine.options] conf, such as spark.hadoop.fs.s3a.endpoint"
        )
    return True


def _hadoop_sizes(session: SparkSession, file: RemotePath) -> dict[str, int] | None:
    """Return the sizes of the files of a table by name; None if Hadoop does not know this kind of store."""
    gateway: Any = session.sparkContext
    jvm, conf = gateway._jvm.org.apache.hadoop.fs, gateway._jsc.hadoopConfiguration()
    uri = hadoop_uri(file)
    try:
        jvm.FileSystem.getFileSystemClass(uri.partition(":")[0], conf)
    except JOB_ERRORS:  # its library is not installed, at least on the driver
        return None
    path = jvm.Path(uri)
    try:
        files = path.getFileSystem(conf).listStatus(path)
    except JOB_ERRORS as error:
        raise UnavailableError(
            f"{file}: Hadoop cannot list {uri} ({first_line(error)}); set its store and credentials under"
            " [engine.options] conf, such as spark.hadoop.fs.s3a.endpoint"
        ) from None
    suffix = SHARD_PATTERN.removeprefix("*")
    return {one.getPath().getName(): one.getLen() for one in files if one.getPath().getName().endswith(suffix)}
