"""How the text of a file is laid out: JSON lines, or columns between separators, with or without a header.

DuckDB's own sniffer (2.0) was tried. One line with too many or too few columns makes it read the file as one column; it
tries no ``::``, and knows quotation marks only if its sample has one. It renames the second of two columns of one name
and takes an ambiguous date as day/month, both without a word. It finds neither an encoding nor a compression.
"""

import csv
import io
import re
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from multitudes.errors import DataError

# The first wins where two split the lines into as many columns.
_SEPARATORS = ("::", "\t", ",", ";", "|")
_SEPARATOR_NAMES = {"\t": "tab", "::": "::", ",": "comma", ";": "semicolon", "|": "|", " ": "space"}
_EXAMINED_LINES = 200
_VALUE = re.compile(r"\s*([-+]?\d+([.,]\d+)?([eE][-+]?\d+)?\s*|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*)")  # a number or date


class Layout(NamedTuple):
    """How rows are written."""

    kind: str  # "csv", "json lines", "json array" or "Parquet"; what follows is of "csv"
    separator: str = ""  # between columns
    columns: tuple[str, ...] = ()  # their names; without a header 1, 2, …
    has_header: bool = False  # whether the first row has the names

    @property
    def is_quoted(self) -> bool:
        """Return whether values may stand in quotation marks; files with the separator ``::`` know none."""
        return len(self.separator) == 1

    def describe(self) -> str:
        """Return the layout for people."""
        if self.kind != "csv":
            return self.kind
        name = _SEPARATOR_NAMES.get(self.separator, self.separator)
        return f"separator {name}{'' if self.has_header else ', no header'}"


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
    lower = [column.lower() for column in columns]  # the engine does not tell upper from lower case
    twice = next((column for column in columns if lower.count(column.lower()) > 1), None)
    if twice is not None:
        places = " and ".join(str(number + 1) for number, column in enumerate(lower) if column == twice.lower())
        raise DataError(f"{name}: columns {places} are both called '{twice}'; rename one of them in the first line")
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
    if not rows:
        return 0
    width = len(rows[0])
    return width if 2 * sum(len(row) == width for row in rows) > len(rows) else 0
