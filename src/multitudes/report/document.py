"""The content of a report: headings, text, tables and figures, written once for a terminal, Markdown and HTML.

HTML is written by ``html_elements``, which alone draws the figures.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table as TerminalTable
from rich.text import Text as TerminalText

from multitudes.safe_html import printable

TONE_STYLES: Mapping[str, str] = {"better": "green", "worse": "red"}  # of a terminal


class Cell(NamedTuple):
    """A text in a table."""

    text: str
    tone: str = ""  # a verdict, which colours the text
    short: str | None = None  # the text on a narrow terminal; None: the same


class Table(NamedTuple):
    """A table; the first column names the rows, the others are numbers unless they are listed in ``words``."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    own: str = ""  # name of the row in bold
    words: Sequence[str] = ()  # other columns of text
    room: Mapping[str, int] = {}  # column → terminal columns that it needs; a phone does not show it
    full: int = 0  # narrower terminals get short texts


class Heading(NamedTuple):
    """A heading; one of level 2 begins a section."""

    text: str
    level: int = 2


class Contents(NamedTuple):
    """Links to sections of an HTML page, by their headings."""

    headings: Sequence[str]


class Text(NamedTuple):
    """A paragraph; its style is that of the style sheet: soft, headline or note."""

    text: str
    style: str = ""


class Figure(NamedTuple):
    """A chart and its caption; None draws nothing. A terminal and Markdown have no figures."""

    chart: Any  # of Altair
    caption: str


class Terms(NamedTuple):
    """Terms and their meanings, or names and values."""

    pairs: Sequence[tuple[str, str]]


Block = Heading | Contents | Text | Table | Figure | Terms


def as_cell(cell: Cell | str) -> Cell:
    """Return a text of a table as a cell."""
    return Cell(cell) if isinstance(cell, str) else cell


def is_own(table: Table, row: Sequence[Cell | str]) -> bool:
    """Return whether a row is the one in bold."""
    return bool(table.own) and as_cell(row[0]).text == table.own


def to_markdown(blocks: Iterable[Block]) -> str:
    """Return the blocks as Markdown, without the empty ones."""
    return printable("\n\n".join(text for text in map(_block_markdown, blocks) if text) + "\n")


def _block_markdown(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {block.text}"
        case Text():
            return f"**{block.text}**" if block.style == "headline" else block.text
        case Terms():
            return ", ".join(f"{name} {value}" for name, value in block.pairs)
        case Table() if block.rows:
            return "\n\n".join(filter(None, [block.title, "\n".join(_markdown_lines(block))]))
    return ""


def _markdown_lines(table: Table) -> list[str]:
    aligned = ["---", *("---" if name in table.words else "---:" for name in table.head[1:])]
    rows = [[as_cell(cell).text for cell in row] for row in table.rows]
    rows = [[f"**{row[0]}**", *row[1:]] if is_own(table, row) else row for row in rows]
    return [
        "| " + " | ".join(text.replace("|", "\\|").replace("\n", " ") for text in row) + " |"
        for row in (table.head, aligned, *rows)
    ]


def to_terminal(table: Table, width: int) -> TerminalTable:
    """Return a table for a terminal of ``width`` columns: without columns and texts that it has no room for."""
    printed = TerminalTable(
        title=table.title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    shown = [place for place, name in enumerate(table.head) if width >= table.room.get(name, 0)]
    for place in shown:
        name, texts = table.head[place], [as_cell(row[place]).text for row in table.rows]
        is_words = place == 0 or name in table.words
        is_broken = is_words and any(" " in text for text in texts)  # between words: a name stays whole
        printed.add_column(name, justify="left" if is_words else "right", no_wrap=not is_broken, overflow="fold")
    for row in table.rows:
        cells = [as_cell(row[place]) for place in shown]
        texts = [cell.text if cell.short is None or width >= table.full else cell.short for cell in cells]
        styles = [TONE_STYLES.get(cell.tone, "") for cell in cells]
        style = "bold" if is_own(table, row) else None
        printed.add_row(*(TerminalText(*pair) for pair in zip(texts, styles, strict=True)), style=style)
    return printed
