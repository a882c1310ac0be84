"""A table is the same in HTML, in Markdown and on a terminal; a name keeps its look in every chart."""

import io
import re

import pytest
from rich.console import Console

from multitudes.report.charts import distinct_looks, interval_chart
from multitudes.report.document import Block, Cell, Figure, Heading, Table, Terms, Text, to_markdown, to_terminal
from multitudes.report.html_elements import html_page
from multitudes.safe_html import source_digest
from tests.report.markup import assert_well_formed, text_of

TABLE = Table(
    "Lifts.",
    ["metric", "a|b", "detail", "says"],
    [["<saves>", Cell(".219 [.210, .228]", "better", short=".219"), "7", "up\nfor all"], ["hides", "–", "8", ""]],
    own="hides",
    words=["says"],
    room={"detail": 80},
    full=90,
)


def printed(width):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(to_terminal(TABLE, width))
    return console.export_text()


def test_tables_have_every_row_bold_where_it_is_the_own_and_none_without_rows():
    assert to_markdown([Heading("A"), TABLE, Text(""), Text("b", "headline")]) == (
        "## A\n\nLifts.\n\n| metric | a\\|b | detail | says |\n| --- | ---: | ---: | --- |\n"
        "| <saves> | .219 [.210, .228] | 7 | up for all |\n| **hides** | – | 8 |  |\n\n**b**\n"
    )
    nameless = TABLE._replace(rows=[["", "1", "2", "3"]], own="")
    assert "class=own" not in html_page("t", [nameless])
    assert "**" not in to_markdown([nameless])
    empty = TABLE._replace(rows=[])
    assert to_markdown([empty]) == "\n"
    assert "<table>" not in html_page("t", [empty])


def test_html_escapes_names_and_colours_verdicts():
    page = html_page("a & b", [Heading("x <y> z"), TABLE, Figure(None, "not drawn")])
    assert_well_formed(page)
    assert "<td>&lt;saves&gt;</td>" in page
    assert "<span class=better>.219 [.210, .228]</span>" in page
    assert '<td class="number minor">7</td><td>up<br>for all</td>' in page
    assert "<tr class=own><td>hides</td>" in page
    assert '<h2 id="x-y-z">x &lt;y&gt; z</h2>' in page
    assert "not drawn" not in text_of(page)


def test_a_page_has_the_policy_of_its_style_and_no_control_character_of_a_name():
    evil = "a\x1b[2Jb\x9bc\u202ed\u2066e\x07f\r"
    blocks: list[Block] = [
        Heading(evil),
        TABLE._replace(title=evil, rows=[[evil, *"abc"]]),
        Text(evil),
        Terms([(evil, evil)]),
    ]
    row = {"name": evil, "group": "joint", "mean": 0.5, "low": 0.0, "high": 1.0}
    blocks.append(Figure(interval_chart([row], "x", distinct_looks(["joint"])), evil))
    page = html_page(evil, blocks, "study.css")
    (style,) = re.findall("<style>(.*?)</style>", page, re.DOTALL)
    (policy,) = re.findall('<meta http-equiv="content-security-policy" content="(.*?)">', page)
    assert policy.startswith(f"default-src 'none'; style-src '{source_digest(style)}'; ")
    assert " style=" not in page, "the policy forbids them"
    for written in (page, to_markdown(blocks)):
        assert written.replace("\n", "").isprintable()
    joined = "नमस्\u200dते \u200c\u3000한국"
    assert joined.replace("\u3000", " ") in html_page(joined, [])


@pytest.mark.parametrize(("width", "shown"), [(100, (True, True)), (85, (True, False)), (60, (False, False))])
def test_a_narrow_terminal_leaves_out_columns_and_shortens_texts(width, shown):
    text = printed(width)
    assert ("detail" in text, "[.210, .228]" in text) == shown
    assert ".219" in text


def test_a_name_keeps_its_look_when_others_are_left_out_and_a_chart_without_rows_is_none():
    looks = distinct_looks(["single", "joint", "odd"])
    rows = [{"name": "first", "group": "joint", "mean": 0.1, "low": 0.0, "high": None}]
    chart = interval_chart(rows, "HR", looks)
    assert chart is not None
    (scale,) = {str(layer["encoding"]["color"]["scale"]) for layer in chart.to_dict()["layer"][1:]}
    assert scale == str({"domain": ["joint"], "range": [looks["joint"].colour]})
    assert interval_chart([], "HR", looks) is None
