"""Text of any encoding and compression becomes a file of UTF-8 lines that the engine reads.

A file that is plain UTF-8 is read where it lies. Every other one is written anew into the scratch folder.
"""

import codecs
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from multitudes.errors import DataError, UsageError
from multitudes.progress import Progress, silent

_MAX_LINE_MIB = 16  # and a chunk: DuckDB leaves out a line of 32 MB without a word
_CHUNK_BYTES = 8 << 20
_BEGINNING_BYTES = 1 << 18
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
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
    """A file of UTF-8 lines.

    Attributes:
        path: where it is.
        beginning: its first lines, whole, without a byte order mark.
        notes: how the original is written, such as "gzip" and "utf-16"; empty for plain UTF-8.
    """

    path: Path
    beginning: str
    notes: tuple[str, ...]


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet, by its first bytes."""
    return _head(path, 4) == b"PAR1"


def check_whole_parquet(path: Path, name: str) -> None:
    """Check that a Parquet file ends as one does.

    Raises:
        DataError: it is cut.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4))
        if path.stat().st_size < 12 or file.read() != b"PAR1":
            raise DataError(f"{name}: the Parquet file is cut or damaged; copy or download it again")


def open_text(
    path: Path, name: str, scratch: Path, encoding: str | None = None, progress: Progress = silent
) -> TextFile:
    """Return a file as UTF-8 text.

    Args:
        path: the file.
        name: how a person calls it.
        scratch: an empty folder for the text of a file that is compressed or not UTF-8.
        encoding: of the file; None: found out.
        progress: called with the MiB that were read.

    Raises:
        DataError: the file is empty, no text, cut, or not in this encoding, or one of its lines is very long.
        UsageError: Python knows no such encoding.
    """
    magic = _head(path, 16)
    reason = next((reason for mark, reason in _NOT_TABLES.items() if magic.startswith(mark)), None)
    if reason is not None:
        raise DataError(f"{name}: {reason}")
    notes = []
    compression = next((kind for mark, kind in _COMPRESSIONS.items() if magic.startswith(mark)), None)
    if compression is not None:
        notes.append(compression)
        path = _decompress(path, name, compression, scratch / "unpacked", progress)
    found = _check_encoding(encoding) if encoding else _marked_encoding(path, name)
    if found in {None, "utf-8"} and not _check_lines(path, name, progress):
        found = found or _LATIN
    if found not in {None, "utf-8"}:
        notes.append("latin-1" if found == _LATIN else found)
        path = _decode(path, name, found, scratch / "decoded", progress)
        _check_lines(path, name, progress)
    head = _head(path, _BEGINNING_BYTES)
    if len(head) == _BEGINNING_BYTES and b"\n" in head:
        head = head[: head.rindex(b"\n")]
    return TextFile(path, head.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace"), tuple(notes))


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


def _decompress(path: Path, name: str, compression: str, to: Path, progress: Progress) -> Path:
    try:
        with to.open("wb") as out:
            out.writelines(_read(path, f"unpacking {name}", progress, compression))
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


def _check_encoding(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        raise UsageError(f"--encoding {encoding}: expected an encoding such as utf-8, utf-16 or latin-1") from None


def _decode(path: Path, name: str, encoding: str, to: Path, progress: Progress) -> Path:
    """Write a file anew as UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)("replace" if encoding == _LATIN else "strict")
    done = 0
    with to.open("w", encoding="utf-8", newline="") as out:
        for chunk in chain(_read(path, f"decoding {name}", progress), [b""]):
            try:
                out.write(decoder.decode(chunk, final=not chunk))
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{name}: is not {encoding} from byte {done + error.start:,} on; name its encoding with --encoding,"
                    " or save it as UTF-8"
                ) from None
            done += len(chunk)
    return to
