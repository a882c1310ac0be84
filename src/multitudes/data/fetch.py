"""Tables come from a store once, to be read here as often as it takes.

DuckDB reads Parquet where it lies, again for each query: by the whole network each time, were it an object. Through
Python's file systems it would also wait for one request after the other. Eight requests at once, a disk and a check of
what came are simpler, quicker from the second reading on, and give the digest in the manifest a file to be made of.
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

_RANGE_BYTES = 8 << 20  # bytes of one request: as many as make its delay small beside its time
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
    """Copy a table, a file or all parts of a folder, into the existing ``folder``; return the copy, of the same name.

    Args:
        table: where it lies.
        folder: where the copy shall be; the caller takes it away, also what came of it when this ends badly.
        progress: told the MiB that came.

    Raises:
        DataError: it was changed or cut while it came.
        MissingError: there is no room for it.
        UnavailableError: its store does not answer, or no longer.
    """
    copy = folder / table.name
    copies = {table: copy}
    if table.is_dir():
        copy.mkdir()
        copies = {part: copy / part.name for part in table.glob(SHARD_PATTERN)}
    total = sum(source.size for source in copies)
    _check_free_space(table, total, folder)
    for path in copies.values():
        path.touch()
    version: dict[RemotePath, bytes] = {}
    note, come = f"fetching {table.name}", 0
    progress(0, total // _MIB, note)
    for piece, of in _run_parallel(_fetch_range, _byte_ranges(copies)):
        if version.setdefault(piece.source, of) != of:
            raise _changed_error(piece.source)
        come += piece.length
        progress(come // _MIB, total // _MIB, note)
    for source, of in _run_parallel(_read_version, version):
        if version[source] != of:
            raise _changed_error(source)
    return copy


def _byte_ranges(copies: Mapping[RemotePath, Path]) -> Iterator[_ByteRange]:
    for source, copy in copies.items():
        for start in range(0, source.size, _RANGE_BYTES):
            yield _ByteRange(source, copy, start, min(_RANGE_BYTES, source.size - start))


def _run_parallel(work: Callable[[T], R], on: Iterable[T]) -> Iterator[R]:
    """Yield what ``work`` makes of each as soon as it is made; the first that fails ends the others."""
    with ThreadPoolExecutor(_PARALLEL_REQUESTS) as pool:
        try:
            for done in as_completed([pool.submit(work, one) for one in on]):
                yield done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _fetch_range(piece: _ByteRange) -> tuple[_ByteRange, bytes]:
    """Put a piece into its place in the copy; return it with the version of the object that it is of."""
    came = b""
    with piece.source.open() as stream, translate_store_errors(str(piece.source)):
        version = _etag(stream)
        if stream.size() == piece.source.size:
            came = stream.read_at(piece.length, piece.start)
    if len(came) != piece.length:
        raise _changed_error(piece.source)
    with piece.copy.open("r+b") as copy:
        os.pwrite(copy.fileno(), came, piece.start)
    return piece, version


def _read_version(source: RemotePath) -> tuple[RemotePath, bytes]:
    with source.open() as stream, translate_store_errors(str(source)):
        return source, _etag(stream)


def _etag(stream: Any) -> bytes:  # noqa: ANN401 (pyarrow has no types)
    """Return what changes when an object is written anew: stores have it, file systems do not."""
    named = {str(name).lower(): bytes(value) for name, value in (stream.metadata() or {}).items()}
    return named.get("etag", b"")


def _changed_error(source: RemotePath) -> DataError:
    return DataError(
        f"{source}: was changed or cut while it was fetched, expected the {source.size:,} bytes that were listed; run"
        " the command again when nobody writes there"
    )


def _check_free_space(table: RemotePath, total: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if total > free:
        raise MissingError(
            f"{table}: {total / 1e9:.1f} GB, and {folder} has room for {free / 1e9:.1f}; make room, or give a place"
            " on a larger disk (prepare: --out or [spark] scratch; others: TMPDIR)"
        )
