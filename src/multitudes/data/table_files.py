"""The files of a table: its shards and its digest.

A table is one file, or a folder of Parquet files (shards) in the order of their names.
"""

import hashlib
from pathlib import Path

from multitudes.data.location import Location

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
