"""HTML of a report: one file with its styles and charts inline, whose policy allows no script and no request."""

import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from itertools import groupby
from pathlib import Path

import vl_convert

from multitudes.atomic import write_text
from multitudes.report.charts import Chart
from multitudes.report.document import Block, Cell, Contents, Figure, Heading, Table, Terms, Text, as_cell, is_own
from multitudes.safe_html import printable, source_digest

# The style of all charts, as Vega-Lite configuration.
CHART_CONFIG = {
    "font": "Helvetica, Arial, sans-serif",
    "background": "white",
    "padding": {"left": 8, "right": 8, "top": 4, "bottom": 4},
    "view": {"stroke": None},
    "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "gridColor": "#e6e6e6"},
    "axisX": {"labelFlush": False, "labelOverlap": True, "tickCount": 6},
    "legend": {
        "columnPadding": 22,
        "orient": "top",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "symbolOpacity": 1,
    },
}


def write_html(out: Path, title: str, blocks: Iterable[Block], *styles: str) -> None:
    """Write a report atomically to ``out``."""
    write_text(out, html_page(title, blocks, *styles))


def html_page(title: str, blocks: Iterable[Block], *styles: str) -> str:
    """Return a complete HTML page; figures that follow each other stand side by side.

    ``styles`` are names of style sheets of this package, in addition to page.css.
    """
    package = files("multitudes.report")
    style = "\n" + "".join(package.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", *styles))
    body = ""
    for is_figure, group in groupby(blocks, lambda block: isinstance(block, Figure)):
        elements = "".join(map(_block_html, group))
        body += f'<div class="row">\n{elements}</div>\n' if is_figure and elements else elements
    policy = f"default-src 'none'; style-src '{source_digest(style)}'; base-uri 'none'; form-action 'none'"
    return printable(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="content-security-policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
        f"{body}</main>\n</body>\n</html>\n"
    )


def _block_html(block: Block) -> str:
    match block:
        case Heading():
            return f'<h{block.level} id="{_anchor(block.text)}">{escape(block.text)}</h{block.level}>\n'
        case Contents():
            links = "".join(f'<a href="#{_anchor(text)}">{escape(text)}</a>' for text in block.headings)
            return f"<nav>{links}</nav>\n"
        case Text():
            style = f' class="{block.style}"' if block.style else ""
            return f"<p{style}>{escape(block.text)}</p>\n" if block.text else ""
        case Terms():
            items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in block.pairs)
            return f"<dl>{items}</dl>\n" if items else ""
        case Figure():
            caption = f"<figcaption>{escape(block.caption)}</figcaption>"
            return "" if block.chart is None else f"<figure>{svg(block.chart, block.caption)}{caption}</figure>\n"
        case Table():
            return _table_html(block) if block.rows else ""


def _anchor(heading: str) -> str:
    """Return a heading as the name of its section: its letters and digits, joined by hyphens."""
    return "-".join(re.findall(r"\w+", heading.lower()))


def _table_html(table: Table) -> str:
    """Return a table that scrolls sideways if the page is narrower, by keyboard too."""
    label = escape(table.title or f"Table of {', '.join(filter(None, table.head))}")
    caption = f"<caption>{escape(table.title)}</caption>" if table.title else ""
    body = "".join(
        f"<tr{' class=own' if is_own(table, row) else ''}>{_row_html(table, row, 'td')}</tr>\n" for row in table.rows
    )
    return (
        f'<div class="scroll" role="group" tabindex="0" aria-label="{label}"><table>{caption}'
        f"<thead><tr>{_row_html(table, table.head, 'th')}</tr></thead>\n<tbody>{body}</tbody></table></div>\n"
    )


def _row_html(table: Table, row: Sequence[Cell | str], element: str) -> str:
    cells = []
    for place, (name, cell) in enumerate(zip(table.head, map(as_cell, row), strict=True)):
        styles = ["number"] if place and name not in table.words else []
        styles += ["minor"] if name in table.room else []
        style = f' class="{" ".join(styles)}"' if styles else ""
        text = escape(cell.text).replace("\n", "<br>")
        cells.append(f"<{element}{style}>{f'<span class={cell.tone}>{text}</span>' if cell.tone else text}</{element}>")
    return "".join(cells)


def svg(chart: Chart, label: str = "") -> str:
    """Return a chart as an ``<svg>`` as wide as its column; ``label`` tells those who do not see it what it shows."""
    # The library that draws aborts the process at a control character.
    specification = printable(json.dumps(chart.to_dict() | {"config": CHART_CONFIG}, ensure_ascii=False))
    specification = re.sub(r"\\(u00..|.)", lambda found: found[0] if found[1] in '"\\n' else " ", specification)
    element = str(vl_convert.vegalite_to_svg(specification))
    return element.replace("<svg ", f'<svg role="img" aria-label="{escape(label or "chart")}" ', 1)
