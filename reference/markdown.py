"""Markdown from docstrings: their literal blocks, tables and code in the form of the pages."""

import inspect
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

DOCS = Path(__file__).parents[1] / "docs"
NOTE = "<!-- Written by `python -m reference` from the code; a test compares. -->"
_END = "<!-- end -->"
_TABLE = re.compile(r"^=+(?: =+)+\n(.+?)\n(=+(?: =+)+)\n(.+?)\n=+(?: =+)+$", re.MULTILINE | re.DOTALL)
_LITERAL = re.compile(r"^(.*?):?:\n\n((?:^(?: +.*)?\n?)+)", re.MULTILINE)


def page(title: str, *sections: str) -> str:
    """Return a page that says that it was written by a program."""
    return "\n\n".join([f"# {title}", NOTE, *(section.strip("\n") for section in sections if section)]) + "\n"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; a bar within a cell is escaped."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def replace_table(mark: str, text: str, page_text: str) -> str:
    """Return a page with ``text`` between ``mark`` and the next end mark."""
    before, _, rest = page_text.partition(mark)
    return f"{before}{mark}\n\n{text}\n\n{_END}{rest.partition(_END)[2]}"


def summary(value: object) -> str:
    """Return the first paragraph of a docstring as one line of Markdown."""
    return from_docstring((inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " "))


def from_docstring(text: str) -> str:
    """Return a docstring as Markdown."""
    text = _TABLE.sub(lambda found: _table(found[1], found[2], found[3]), text + "\n")
    text = _LITERAL.sub(_fence, text)
    return re.sub(r"``([^`\n]+(?:\n[^`\n]+)?)``", lambda code: f"`{code[1]}`", text).strip()


def _table(head: str, ruler: str, body: str) -> str:
    """Return a simple table of reStructuredText, whose columns begin where the ruler's do."""
    starts = [found.start() for found in re.finditer(r"=+", ruler)]
    cuts = [slice(*pair) for pair in pairwise([*starts, None])]

    def cells(line: str) -> list[str]:
        wide = re.split(r" {2,}", line.strip())
        narrow = [line[cut].strip() for cut in cuts]
        return narrow if all(line[start - 1 : start] in ("", " ") for start in starts[1:]) else wide

    rows = [[f"`{name}`" for name in row[:1]] + row[1:] for row in map(cells, body.splitlines())]
    return table(cells(head), rows)


def _fence(found: re.Match[str]) -> str:
    before = f"{found[1]}:\n\n" if found[1].strip() else ""
    return f"{before}```text\n{dedent(found[2]).strip()}\n```\n\n"
