"""Text of any encoding and compression becomes a file of UTF-8 lines that the engine reads.

A file that is plain UTF-8 is read where it lies. Every other one is written anew into the scratch folder.
"""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from multitudes.errors import DataError, UsageError
from multitudes.progress import Progress, silent

_MAX_LINE_MIB = 16
_CHUNK_BYTES = _MAX_LINE_MIB << 20
_BEGINNING_BYTES = 1 << 18
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
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
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


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
    with path.open("rb") as file:
        magic = file.read(16)
    reason = next((reason for mark, reason in _NOT_TABLES.items() if magic.startswith(mark)), None)
    if reason is not None:
        raise DataError(f"{name}: {reason}")
    notes = []
    compression = next((kind for mark, kind in _COMPRESSIONS.items() if magic.startswith(mark)), None)
    if compression is not None:
        notes.append(compression)
        path = _decompress(path, name, compression, scratch / "unpacked", progress)
    found = _check_encoding(encoding) if encoding else _find_encoding(path, name, progress)
    if found != "utf-8":
        notes.append("latin-1" if found == _LATIN else found)
        path = _decode(path, name, found, scratch / "decoded", progress)
    with path.open("rb") as file:
        head = file.read(_BEGINNING_BYTES)
    if len(head) == _BEGINNING_BYTES and b"\n" in head:
        head = head[: head.rindex(b"\n")]
    return TextFile(path, head.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace"), tuple(notes))


def _decompress(path: Path, name: str, compression: str, to: Path, progress: Progress) -> Path:
    total = path.stat().st_size >> 20
    try:
        with path.open("rb") as raw, to.open("wb") as out:
            stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), compression)
            while chunk := stream.read(_CHUNK_BYTES):
                out.write(chunk)
                progress(raw.tell() >> 20, total, f"unpacking {name}")
    except OSError as error:
        if error.errno is not None:  # of the disk
            raise
        raise DataError(
            f"{name}: the {compression} file is cut or damaged ({error}); copy or download it again"
        ) from None
    return to


def _chunks(path: Path, name: str, progress: Progress, note: str) -> Iterator[bytes]:
    """Yield a file in chunks of whole lines.

    Raises:
        DataError: a line is longer than a chunk.
    """
    total = path.stat().st_size >> 20
    lines_before = 0
    with path.open("rb") as file:
        rest = b""
        while chunk := file.read(_CHUNK_BYTES):
            whole, newline, after = chunk.rpartition(b"\n")
            if not newline:
                rest += chunk
                if len(rest) < _CHUNK_BYTES:
                    continue
                raise DataError(
                    f"{name}: line {lines_before + 1:,} is longer than {_MAX_LINE_MIB} MiB; expected one row on each"
                    " line. Write one row, or one JSON object, on each line"
                )
            piece, rest = rest + whole + newline, after
            lines_before += piece.count(b"\n")
            yield piece
            progress(file.tell() >> 20, total, f"{note} {name}")
        if rest:
            yield rest


def _find_encoding(path: Path, name: str, progress: Progress) -> str:
    """Return the encoding of a file: a few lines that are not UTF-8 do not make it another one."""
    with path.open("rb") as file:
        head = file.read(4096)
    if not head.strip(b"\r\n\t \0"):
        raise DataError(f"{name}: the file is empty; expected a table")
    marked = next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), None)
    if marked == "utf-16":
        return marked
    if b"\0" in head:
        even, odd = head[::2].count(0), head[1::2].count(0)
        if max(even, odd) < len(head) // 4:
            raise DataError(f"{name}: is no text; expected Parquet, CSV or JSON lines, also packed with gzip or zstd")
        return "utf-16-be" if even > odd else "utf-16-le"
    good = bad = 0
    for chunk in _chunks(path, name, progress, "checking"):
        if not chunk.isascii():
            found_good, found_bad = _count_lines(chunk)
            good, bad = good + found_good, bad + found_bad
    return _LATIN if bad > good else "utf-8"


def _count_lines(chunk: bytes) -> tuple[int, int]:
    """Return the number of lines beyond ASCII that are UTF-8, and of those that are not."""
    good = bad = 0
    for line in chunk.split(b"\n"):
        if line.isascii():
            continue
        try:
            line.decode()
            good += 1
        except UnicodeDecodeError:
            bad += 1
    return good, bad


def _check_encoding(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        raise UsageError(f"--encoding {encoding}: expected an encoding such as utf-8, utf-16 or latin-1") from None


def _decode(path: Path, name: str, encoding: str, to: Path, progress: Progress) -> Path:
    """Write a file anew as UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)("replace" if encoding == _LATIN else "strict")
    total = path.stat().st_size >> 20
    with path.open("rb") as file, to.open("w", encoding="utf-8", newline="") as out:
        while True:
            chunk = file.read(_CHUNK_BYTES)
            try:
                out.write(decoder.decode(chunk, final=not chunk))
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{name}: is not {encoding} from byte {file.tell() - len(chunk) + error.start:,} on; name its"
                    " encoding with --encoding, or save it as UTF-8"
                ) from None
            if not chunk:
                break
            progress(file.tell() >> 20, total, f"decoding {name}")
    if max(map(len, _chunks(to, name, progress, "checking")), default=0) == 0:
        raise DataError(f"{name}: the file is empty; expected a table")
    return to
