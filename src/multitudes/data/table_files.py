"""The files of a table: its shards, its digest, and its rows as the driver of a cluster reads them.

A table is one file, or a folder of Parquet files (shards) in the order of their names.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from multitudes.data.location import Location, open_for_arrow
from multitudes.errors import ArtefactError, is_disk_full

SHARD_PATTERN = "*.parquet"
_CHUNK_ROWS = 262_144  # values of one column that are compared at a time


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


def row_counts(shards: Sequence[Location]) -> list[int]:
    """Return the number of rows of each shard."""
    return [parquet.read_metadata(open_for_arrow(shard)).num_rows for shard in shards]


def read_batches(shard: Location, rows: int, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a shard.

    Args:
        shard: a Parquet file.
        rows: the largest number of rows of a batch.
        columns: which columns to read; None: all.

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


def is_sorted(shards: Sequence[Location], column: str) -> bool:
    """Return whether a column never decreases, within the shards and from one to the next; False if in doubt."""
    last = None
    try:
        types = {parquet.read_schema(open_for_arrow(shard)).field(column).type for shard in shards}
        if len(types) > 1:  # such as seconds and milliseconds
            return False
        for chunk in _value_chunks(shards, column):
            if (last is not None and chunk[0] < last) or (chunk[1:] < chunk[:-1]).any():
                return False
            last = chunk[-1]
    except (pa.ArrowException, OSError, KeyError, ArtefactError):  # the next reader reports what is wrong with the file
        return False
    return True


def _value_chunks(shards: Sequence[Location], column: str) -> Iterator[NDArray[Any]]:
    """Yield the values of a column without nulls, chunk by chunk."""
    for shard in shards:
        for batch in read_batches(shard, _CHUNK_ROWS, [column]):
            values = batch.column(0).drop_null()
            if len(values):
                yield values.to_numpy(zero_copy_only=False)
