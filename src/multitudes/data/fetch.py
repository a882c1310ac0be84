"""Copy a table from a store to the local disk once, so that it can be read as often as necessary.

DuckDB would read a remote Parquet file again for each query, and through Python's file systems one request after the
other. Eight parallel requests to a local copy with a check of its version are simpler, faster from the second reading
on, and leave a local file whose digest goes into the manifest.
"""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from multitudes.data.location import RemotePath, translate_store_errors
from multitudes.data.tables import SHARD_PATTERN
from multitudes.errors import DataError, MissingError
from multitudes.progress import Progress, silent

_RANGE_BYTES = 8 << 20  # bytes of one request: enough that its latency matters little
_PARALLEL_REQUESTS = 8
_MIB = 1 << 20


def fetch(table: RemotePath, folder: Path, progress: Progress = silent) -> Path:
    """Copy a table, a file or all shards of a folder, into ``folder``; return the copy, of the same name.

    ``folder`` exists, and the caller deletes it, also the incomplete copy after an error.

    Raises:
        DataError: the table was changed or cut while it was fetched.
        MissingError: there is not enough disk space.
        UnavailableError: the store does not answer.
    """
    copy = folder / table.name
    copies = {table: copy}
    if table.is_dir():
        copy.mkdir()
        copies = {shard: copy / shard.name for shard in table.glob(SHARD_PATTERN)}
    total = sum(source.size for source in copies)
    if total > (free := shutil.disk_usage(folder).free):
        raise MissingError(
            f"{table}: {total / 1e9:.1f} GB, and {folder} has room for {free / 1e9:.1f}; make room, or choose a larger"
            " disk (prepare: --out or scratch of [engine.options]; others: TMPDIR)"
        )
    for path in copies.values():
        path.touch()
    ranges = [(source, path, start) for source, path in copies.items() for start in range(0, source.size, _RANGE_BYTES)]
    note, fetched = f"fetching {table.name}", 0
    with ThreadPoolExecutor(_PARALLEL_REQUESTS) as pool:  # the first error cancels the requests that wait
        before = list(pool.map(_read_version, copies))
        progress(0, total // _MIB, note)
        for length in pool.map(_fetch_range, *zip(*ranges, strict=True)):
            fetched += length
            progress(fetched // _MIB, total // _MIB, note)
        for source, old, new in zip(copies, before, pool.map(_read_version, copies), strict=True):
            if new != old:
                raise _changed_error(source)
    return copy


def _fetch_range(source: RemotePath, copy: Path, start: int) -> int:
    """Write the bytes from ``start`` into the copy; return their number."""
    length, content = min(_RANGE_BYTES, source.size - start), b""
    with source.open() as stream, translate_store_errors(str(source)):
        if stream.size() == source.size:
            content = stream.read_at(length, start)
    if len(content) != length:
        raise _changed_error(source)
    with copy.open("r+b") as out:
        os.pwrite(out.fileno(), content, start)
    return length


def _read_version(source: RemotePath) -> bytes:
    """Return the ETag, which changes when an object is written again; empty in file systems without ETags."""
    with source.open() as stream, translate_store_errors(str(source)):
        metadata = {str(name).lower(): bytes(value) for name, value in (stream.metadata() or {}).items()}
    return metadata.get("etag", b"")


def _changed_error(source: RemotePath) -> DataError:
    return DataError(
        f"{source}: was changed or cut while it was fetched, expected the {source.size:,} bytes that were listed; run"
        " the command again when nobody writes there"
    )
