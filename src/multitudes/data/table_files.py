"""The files of a table: its shards, its digest, and its rows as the driver of a cluster reads them.

A table is one file, or a folder of Parquet files (shards) in the order of their names.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from multitudes.data.location import Location, open_for_arrow
from multitudes.errors import ArtefactError, is_disk_full

SHARD_PATTERN = "*.parquet"


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
