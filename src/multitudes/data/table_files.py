"""What tells one input from another: the SHA-256 of a file, or of all parts of a table in the order of their names.

Parquet files one behind the other, read piece by piece where they lie: what the driver of a cluster reads itself.
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


def table_sha256(table: Location) -> str:
    """Return the digest of a table.

    Raises:
        FileNotFoundError: it is not there.
    """
    if table.is_dir():
        together = hashlib.sha256()
        for part in list_shards(table):
            together.update(bytes.fromhex(table_sha256(part)))
        return together.hexdigest()
    with table.open("rb") if isinstance(table, Path) else table.open() as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


SHARD_PATTERN = "*.parquet"  # what is read of a table that is a folder


def list_shards(folder: Location) -> list[Location]:
    """Return the files of a table that is a folder, in the order of their names."""
    return sorted(folder.glob(SHARD_PATTERN), key=lambda part: part.name)


_CHUNK_ROWS = 262_144  # at a time, of one column


def row_counts(parts: Sequence[Location]) -> list[int]:
    """Return the rows of each file."""
    return [parquet.read_metadata(open_for_arrow(part)).num_rows for part in parts]


def read_batches(shard: Location, rows: int, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a shard, about ``rows`` at a time; of all columns, or of some.

    Raises:
        ArtefactError: it is missing, or is cut short.
    """
    try:
        with parquet.ParquetFile(open_for_arrow(shard)) as opened:
            yield from opened.iter_batches(rows, columns=columns)
    except FileNotFoundError:
        raise ArtefactError(f"{shard}: missing; run the command again") from None
    except (pa.ArrowInvalid, OSError) as error:
        if is_disk_full(error):
            raise
        raise ArtefactError(f"{shard}: damaged or cut short; run the command again") from None


def is_sorted(parts: Sequence[Location], column: str) -> bool:
    """Return whether a column never falls in files one behind the other; False also where that cannot be told."""
    last = None
    try:
        kinds = {parquet.read_schema(open_for_arrow(part)).field(column).type for part in parts}
        if len(kinds) > 1:  # such as seconds and milliseconds
            return False
        for piece in _value_chunks(parts, column):
            if (last is not None and piece[0] < last) or (piece[1:] < piece[:-1]).any():
                return False
            last = piece[-1]
    except (pa.ArrowException, OSError, KeyError, ArtefactError):  # who asks next says what is wrong with the file
        return False
    return True


def _value_chunks(parts: Sequence[Location], column: str) -> Iterator[NDArray[Any]]:
    """Yield the values of a column, piece by piece, without nulls."""
    for part in parts:
        for batch in read_batches(part, _CHUNK_ROWS, [column]):
            known = batch.column(0).drop_null()
            if len(known):
                yield known.to_numpy(zero_copy_only=False)
