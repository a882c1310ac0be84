"""Text of any encoding and compression becomes a file of UTF-8 lines that the engine reads; and how they are laid out.

A file that is plain UTF-8 is read where it lies. Every other one is written anew into the scratch folder. Its layout
is JSON lines, or columns between separators, with or without a header.

DuckDB's own sniffer (2.0) reads a file with one odd line as one column, knows no ``::``, renames the second of two
columns of one name and takes an ambiguous date as day/month, without a word, and finds no encoding.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from charset_normalizer import from_bytes

from multitudes.data.column_names import reject_same_names
from multitudes.errors import DataError
from multitudes.progress import Progress, silent

_MAX_LINE_MIB = 16  # and a chunk: DuckDB leaves out a line of 32 MB without a word
_CHUNK_BYTES = 8 << 20
_BEGINNING_BYTES = 1 << 18
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
# Unpacked, a table has up to a few dozen times the bytes. A file made to fill a disk or memory has a thousand times.
_MAX_UNPACKED_RATIO, _ALWAYS_UNPACKED_BYTES = 100, 1 << 28
_LATIN = "cp1252"  # latin-1 with the quotation marks and dashes that Windows writes
_ENCODINGS = ("cp949", "cp932", "euc_jp", "gb18030", "big5", "cp1251", _LATIN)  # that are told apart
_SIGNS_TO_BLANKS = bytes(n if n == 10 or 48 <= n < 58 or n > 63 else 32 for n in range(256))  # no part of a letter
_SAMPLE_BYTES = 1 << 16  # of lines that are not UTF-8
_NOT_TABLES = {
    b"PK\x03\x04": "is a zip archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"\xfd7zXZ": "is compressed with xz; unpack it, or compress it with gzip or zstd",
    b"SQLite format 3": "is an SQLite database; export its tables as CSV",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook; save the sheet as CSV",
    b"%PDF": "is a PDF; export the table as CSV",
    b"\x93NUMPY": "is a NumPy array; write it as Parquet or CSV",
    b"ARROW1": "is an Arrow file; write it as Parquet",
    b"\xff\xff\xff\xff": "is an Arrow stream; write it as Parquet",
    b"<": "is HTML or XML, such as an error page in place of a download; give a table",
}
# The first wins where two split the lines into as many columns.
_SEPARATORS = ("::", "\t", ",", ";", "|")
_SEPARATOR_NAMES = {"\t": "tab", "::": "::", ",": "comma", ";": "semicolon", "|": "|", " ": "space"}
_EXAMINED_LINES = 200
_VALUE = re.compile(r"\s*([-+]?\d+([.,]\d+)?([eE][-+]?\d+)?\s*|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*)")  # a number or date


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet, by its first bytes."""
    return _head(path, 4) == b"PAR1"


def open_text(
    path: Path, name: str, scratch: Path, encoding: str | None = None, progress: Progress = silent
) -> tuple[Path, str, list[str]]:
    """Return a file as UTF-8 text, written into the empty folder ``scratch`` if it is compressed or not UTF-8.

    Beside it, its first lines, whole and without a byte order mark, and how the original is written, such as "gzip" and
    "utf-16"; nothing for plain UTF-8. A person calls it ``name``. ``encoding`` is that of ``codecs``; None: found out.
    ``progress`` is called with the MiB that were read.

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
    named, encoding, is_mixed = encoding, encoding or _marked_encoding(path, name), False
    if encoding in {None, "utf-8"}:
        foreign, is_mixed = _check_lines(path, name, progress)
        letters = foreign.translate(_SIGNS_TO_BLANKS)  # many signs beside letters look like a wrong guess
        likeliest = letters and from_bytes(letters, cp_isolation=list(_ENCODINGS), enable_fallback=False).best()
        encoding = encoding or (likeliest.encoding if likeliest else _LATIN if foreign else "utf-8")
    if encoding != "utf-8":
        is_guess = not named and not encoding.startswith("utf-16")
        notes.append(f"{encoding} by its letters; --encoding names another" if is_guess else encoding)
    if encoding != "utf-8" or is_mixed:
        path = _decode(path, name, encoding, scratch / "decoded", progress)
        _check_lines(path, name, progress)
    head = _head(path, _BEGINNING_BYTES)
    if len(head) == _BEGINNING_BYTES and b"\n" in head:
        head = head[: head.rindex(b"\n")]
    beginning = head.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
    if "\ufffd" in beginning.split("\n", 1)[0]:
        notes.append("line 1 is not UTF-8, unlike most; save the file in one encoding")
    return path, beginning, notes


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
        raise DataError(f"{name}: the {compression} file is cut or damaged ({error}); download it again") from None
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
        raise DataError(f"{name}: has NUL bytes; expected Parquet, CSV or JSON lines, also packed with gzip or zstd")
    return "utf-16-be" if even > odd else "utf-16-le"


def _check_lines(path: Path, name: str, progress: Progress) -> tuple[bytes, bool]:
    """Return some lines that are not UTF-8, none if most are, and whether lines end in two ways."""
    lines_before = crlf = good = bad = 0
    is_empty, rest, foreign = True, b"", b""
    for chunk in chain(_read(path, f"checking {name}", progress), [b"\n"]):
        lines, newline, rest = (rest + chunk).rpartition(b"\n")
        lines_before += lines.count(b"\n") + len(newline)
        crlf += (lines + newline).count(b"\r\n")
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
                foreign += line + b"\n" if len(foreign) < _SAMPLE_BYTES else b""
    if is_empty:
        raise DataError(f"{name}: the file is empty; expected a table")
    return b"" if good >= bad else foreign, 0 < crlf < lines_before - 1


def _decode(path: Path, name: str, encoding: str, to: Path, progress: Progress) -> Path:
    """Write a file anew as UTF-8, with line feeds alone: DuckDB reads no file whose lines end in two ways."""
    chunks, ends = _read(path, f"decoding {name}", progress), io.IncrementalNewlineDecoder(None, translate=True)
    errors = {"utf-8": "surrogateescape", _LATIN: "replace"}.get(encoding, "strict")
    try:
        with to.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out:
            out.writelines(map(ends.decode, codecs.iterdecode(chunks, encoding, errors)))
    except UnicodeError as error:
        line = 1 + sum(part.count(b"\n") for part in _read(to, name, silent))  # those of the chunks before
        if isinstance(error, UnicodeDecodeError):
            line += ends.decode(error.object[: error.start].decode(error.encoding), final=True).count("\n")
        raise DataError(f"{name}: line {line:,} is not {encoding}; save it as UTF-8, or give its --encoding") from None
    return to


class Layout(NamedTuple):
    """How rows are written."""

    kind: str  # "csv", "json lines", "json array" or "Parquet"; what follows is of "csv"
    separator: str = ""  # between columns
    columns: tuple[str, ...] = ()  # their names; without a header 1, 2, …
    has_header: bool = False  # whether the first row has the names

    def describe(self) -> str:
        """Return the layout for people."""
        if self.kind != "csv":
            return self.kind
        name = _SEPARATOR_NAMES.get(self.separator, ascii(self.separator))
        found = f"separator {name}" if len(self.columns) > 1 else "no separator found; --separator names one"
        return f"{found}{'' if self.has_header else ', no header'}"


def find_layout(beginning: str, name: str, separator: str | None = None) -> Layout:
    """Return the layout of the file that a person calls ``name``, by its first lines; ``separator`` None: found out.

    Raises:
        DataError: two columns have one name.
    """
    start = beginning.lstrip()[:1]
    if start in {"{", "["} and separator is None:
        return Layout("json lines" if start == "{" else "json array")
    rows = {sign: _split(beginning, sign) for sign in ([separator] if separator else _SEPARATORS)}
    widths = {sign: _common_width(found) for sign, found in rows.items()}
    best = max(widths, key=lambda sign: widths[sign])
    if widths[best] <= 1 and separator is None:
        best = ","
    if not rows[best]:
        raise DataError(f"{name}: the file is empty; expected a table")
    header = [cell.strip() for cell in rows[best][0]]
    if any(_VALUE.fullmatch(cell) for cell in header):  # a number or a date says that the first row has values
        return Layout("csv", best, tuple(str(number + 1) for number in range(len(header))))
    columns = [cell or f"column {number + 1}" for number, cell in enumerate(header)]
    reject_same_names(columns, name)
    return Layout("csv", best, tuple(columns), has_header=True)


def _split(beginning: str, separator: str) -> list[list[str]]:
    if len(separator) == 1:
        try:
            rows = csv.reader(io.StringIO(beginning, newline=""), delimiter=separator)
            return list(islice((row for row in rows if row), _EXAMINED_LINES))
        except csv.Error:  # a very long value: a quotation mark that never closes
            pass
    return [line.split(separator) for line in beginning.splitlines()[:_EXAMINED_LINES] if line.strip()]


def _common_width(rows: Sequence[Sequence[str]]) -> int:
    """Return the number of columns of the first row if most rows have it, else 0."""
    width = len(rows[0]) if rows else 0
    return width if 2 * sum(len(row) == width for row in rows) > len(rows) else 0
