"""Text of any encoding and compression becomes a file of UTF-8 lines that the engine reads.

A file that is plain UTF-8 is read where it lies. Every other one is written anew into the scratch folder.
"""

import codecs
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from multitudes.errors import DataError
from multitudes.progress import Progress, silent

_MAX_LINE_MIB = 16  # and a chunk: DuckDB leaves out a line of 32 MB without a word
_CHUNK_BYTES = 8 << 20
_BEGINNING_BYTES = 1 << 18
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
# Unpacked, a table has up to a few dozen times the bytes. A file made to fill a disk or memory has a thousand times.
_MAX_UNPACKED_RATIO, _ALWAYS_UNPACKED_BYTES = 100, 1 << 28
_LATIN = "cp1252"  # latin-1 with the quotation marks and dashes that Windows writes
_NOT_TABLES = {
    b"PK\x03\x04": "is a zip archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"\xfd7zXZ": "is compressed with xz; unpack it, or compress it with gzip or zstd",
    b"SQLite format 3": "is an SQLite database; export its tables as CSV",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook; save the sheet as CSV",
    b"%PDF": "is a PDF; export the table as CSV",
    b"\x93NUMPY": "is a NumPy array; write it as Parquet or CSV",
    b"ARROW1": "is an Arrow file; write it as Parquet",
}


class TextFile(NamedTuple):
    """A file of UTF-8 lines."""

    path: Path
    beginning: str  # its first lines, whole, without a byte order mark
    notes: list[str]  # how the original is written, such as "gzip" and "utf-16"; empty for plain UTF-8


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet, by its first bytes."""
    return _head(path, 4) == b"PAR1"


def open_text(
    path: Path, name: str, scratch: Path, encoding: str | None = None, progress: Progress = silent
) -> TextFile:
    """Return a file as UTF-8 text, written into the empty folder ``scratch`` if it is compressed or not UTF-8.

    Args:
        path: the file.
        name: how a person calls it.
        scratch: the folder.
        encoding: of the file, as ``codecs`` calls it; None: found out.
        progress: called with the MiB that were read.

    Raises:
        DataError: the file is empty, no text, cut, or not in this encoding, one of its lines is very long, or it
            unpacks to far more than a table does.
    """
    magic = _head(path, 16)
    for mark, reason in _NOT_TABLES.items():
        if magic.startswith(mark):
            raise DataError(f"{name}: {reason}")
    notes = [kind for mark, kind in _COMPRESSIONS.items() if magic.startswith(mark)]
    if notes:
        path = _unpack(path, name, notes[0], scratch / "unpacked", progress)
    encoding = encoding or _marked_encoding(path, name)
    if encoding in {None, "utf-8"} and not _check_lines(path, name, progress):
        encoding = encoding or _LATIN
    if encoding not in {None, "utf-8"}:
        notes.append("latin-1" if encoding == _LATIN else encoding)
        path = _decode(path, name, encoding, scratch / "decoded", progress)
        _check_lines(path, name, progress)
    head = _head(path, _BEGINNING_BYTES)
    if len(head) == _BEGINNING_BYTES and b"\n" in head:
        head = head[: head.rindex(b"\n")]
    return TextFile(path, head.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace"), notes)


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def _read(path: Path, note: str, progress: Progress, compression: str | None = None) -> Iterator[bytes]:
    """Yield the bytes of a file in chunks."""
    total = path.stat().st_size >> 20
    with path.open("rb") as file:
        stream = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), compression) if compression else file
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk
            progress(file.tell() >> 20, total, note)


def _unpack(path: Path, name: str, compression: str, to: Path, progress: Progress) -> Path:
    left = max(_ALWAYS_UNPACKED_BYTES, _MAX_UNPACKED_RATIO * path.stat().st_size)
    try:
        with to.open("wb") as out:
            for chunk in _read(path, f"unpacking {name}", progress, compression):
                left -= out.write(chunk)
                if left < 0:
                    raise DataError(
                        f"{name}: the {compression} file unpacks to more than {_MAX_UNPACKED_RATIO} times its size;"
                        " expected a table. If it is one, unpack it, and import what comes out"
                    )
    except OSError as error:
        if error.errno is not None:  # of the disk
            raise
        raise DataError(
            f"{name}: the {compression} file is cut or damaged ({error}); copy or download it again"
        ) from None
    return to


def _marked_encoding(path: Path, name: str) -> str | None:
    """Return the encoding that the first bytes of a file tell: UTF-16, or None."""
    head = _head(path, 4096)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" not in head:
        return None
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) < len(head) // 4:
        raise DataError(f"{name}: is no text; expected Parquet, CSV or JSON lines, also packed with gzip or zstd")
    return "utf-16-be" if even > odd else "utf-16-le"


def _check_lines(path: Path, name: str, progress: Progress) -> bool:
    """Return whether a file is UTF-8: a few lines that are not do not make it another encoding.

    Raises:
        DataError: it has no text, or a very long line.
    """
    lines_before = good = bad = 0
    is_empty, rest = True, b""
    for chunk in chain(_read(path, f"checking {name}", progress), [b"\n"]):
        lines, newline, rest = (rest + chunk).rpartition(b"\n")
        lines_before += lines.count(b"\n") + len(newline)
        if len(rest) > _MAX_LINE_MIB << 20:
            raise DataError(
                f"{name}: line {lines_before + 1:,} is longer than {_MAX_LINE_MIB} MiB; expected one row on each line."
                " Write one row, or one JSON object, on each line"
            )
        is_empty = is_empty and not lines.strip(b"\r\n\t \0")
        for line in [] if lines.isascii() else lines.split(b"\n"):
            try:
                good += not line.isascii() and bool(line.decode())
            except UnicodeDecodeError:
                bad += 1
    if is_empty:
        raise DataError(f"{name}: the file is empty; expected a table")
    return good >= bad


def _decode(path: Path, name: str, encoding: str, to: Path, progress: Progress) -> Path:
    """Write a file anew as UTF-8."""
    chunks = _read(path, f"decoding {name}", progress)
    try:
        with to.open("w", encoding="utf-8", newline="") as out:
            out.writelines(codecs.iterdecode(chunks, encoding, "replace" if encoding == _LATIN else "strict"))
    except UnicodeError:
        raise DataError(f"{name}: is not {encoding}; name its encoding with --encoding, or save it as UTF-8") from None
    return to
