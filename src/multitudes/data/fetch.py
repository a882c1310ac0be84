"""Copy a table from a store to the local disk once, so that it can be read as often as necessary.

DuckDB would read a remote Parquet file again for each query, and through Python's file systems one request after the
other. Eight parallel requests to a local copy with a check of its version are simpler, faster from the second reading
on, and leave a local file whose digest goes into the manifest.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from multitudes.data.location import RemotePath, translate_store_errors
from multitudes.data.table_files import SHARD_PATTERN
from multitudes.errors import DataError, MissingError
from multitudes.progress import Progress, silent

_RANGE_BYTES = 8 << 20  # bytes of one request: enough that its latency matters little
_PARALLEL_REQUESTS = 8
_MIB = 1 << 20

T = TypeVar("T")
R = TypeVar("R")


class _ByteRange(NamedTuple):
    source: RemotePath
    copy: Path
    start: int
    length: int


def fetch(table: RemotePath, folder: Path, progress: Progress = silent) -> Path:
    """Copy a table, a file or all shards of a folder, into ``folder``.

    Args:
        table: the table in the store.
        folder: an existing local folder; the caller deletes it, also the incomplete copy after an error.
        progress: called with the MiB that have been fetched.

    Returns:
        The copy, of the same name.

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
    _check_free_space(table, total, folder)
    for path in copies.values():
        path.touch()
    versions: dict[RemotePath, bytes] = {}
    note, fetched = f"fetching {table.name}", 0
    progress(0, total // _MIB, note)
    for byte_range, version in _run_parallel(_fetch_range, _byte_ranges(copies)):
        if versions.setdefault(byte_range.source, version) != version:
            raise _changed_error(byte_range.source)
        fetched += byte_range.length
        progress(fetched // _MIB, total // _MIB, note)
    for source, version in _run_parallel(_read_version, versions):
        if versions[source] != version:
            raise _changed_error(source)
    return copy


def _byte_ranges(copies: Mapping[RemotePath, Path]) -> Iterator[_ByteRange]:
    for source, copy in copies.items():
        for start in range(0, source.size, _RANGE_BYTES):
            yield _ByteRange(source, copy, start, min(_RANGE_BYTES, source.size - start))


def _run_parallel(function: Callable[[T], R], arguments: Iterable[T]) -> Iterator[R]:
    """Yield the results of a function as they are ready; the first error cancels the remaining calls."""
    with ThreadPoolExecutor(_PARALLEL_REQUESTS) as pool:
        try:
            for future in as_completed([pool.submit(function, argument) for argument in arguments]):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _fetch_range(byte_range: _ByteRange) -> tuple[_ByteRange, bytes]:
    """Write a byte range into the copy; return it with the version of the object that it was read from."""
    content = b""
    with byte_range.source.open() as stream, translate_store_errors(str(byte_range.source)):
        version = _etag(stream)
        if stream.size() == byte_range.source.size:
            content = stream.read_at(byte_range.length, byte_range.start)
    if len(content) != byte_range.length:
        raise _changed_error(byte_range.source)
    with byte_range.copy.open("r+b") as copy:
        os.pwrite(copy.fileno(), content, byte_range.start)
    return byte_range, version


def _read_version(source: RemotePath) -> tuple[RemotePath, bytes]:
    with source.open() as stream, translate_store_errors(str(source)):
        return source, _etag(stream)


def _etag(stream: Any) -> bytes:  # noqa: ANN401 (pyarrow has no types)
    """Return the ETag, which changes when an object is written again; empty in file systems without ETags."""
    metadata = {str(name).lower(): bytes(value) for name, value in (stream.metadata() or {}).items()}
    return metadata.get("etag", b"")


def _changed_error(source: RemotePath) -> DataError:
    return DataError(
        f"{source}: was changed or cut while it was fetched, expected the {source.size:,} bytes that were listed; run"
        " the command again when nobody writes there"
    )


def _check_free_space(table: RemotePath, total: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if total > free:
        raise MissingError(
            f"{table}: {total / 1e9:.1f} GB, and {folder} has room for {free / 1e9:.1f}; make room, or choose a larger"
            " disk (prepare: --out or scratch of [engine.options]; others: TMPDIR)"
        )
