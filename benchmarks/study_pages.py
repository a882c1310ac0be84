"""``python -m benchmarks.study_pages``: the pages of the kept studies in records/, and the tables of docs/results.md.

Each study has a page and an appendix with the tables of each data set. docs/results.md shows today's default alone.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from reference.markdown import replace_table

from benchmarks.machine import ROOT
from benchmarks.markdown import table
from multitudes.report.charts import Chart, distinct_looks, interval_chart
from multitudes.report.document import Block, Heading, Text, to_markdown
from multitudes.report.formatting import format_difference
from multitudes.report.html_elements import svg
from multitudes.report.study_page import (
    data_set_blocks,
    lead_blocks,
    overall_blocks,
    overview_chart,
    picture_caption,
    provenance_blocks,
)
from multitudes.report.study_tables import overview_table

RESULTS, RECORDS = ROOT / "benchmarks" / "results", ROOT / "records"
PAGE = ROOT / "docs" / "results.md"
DEFAULT = "coverage/test"  # today's default, on users' events on which nothing was chosen
STUDIES = {
    "coverage": "coverage",
    "coverage-test": DEFAULT,
    "coverage-isolated": "coverage-isolated",
    "coverage-isolated-test": "coverage-isolated/test",
    "size": "size",
    "linear": "linear",
    "linear-test": "linear/test",
    "interests": "interests",
    "interests-test": "interests/test",
    "methods": "methods",
    "paper": "paper-small",
    "paper-confirm": "paper-confirm",
    "paper-amazon": "paper-amazon",
    "ablations": "ablations",
    "ablations-conditional": "ablations/conditional",
}
PICTURES = ("size", "linear", "linear-test", "interests", "interests-test")
FIGURES = {"HR@100": "hr", "HR@1000": "hr@1000", "served@100": "served"}  # of the picture of size
CONTROLS = {
    "unconditioned": "its one vector of the whole history",
    "calibrated": "that vector, its list calibrated",
    "random_partition": "a random partition of the history",
}
WRITTEN_BY = "Written by `python -m benchmarks.study_pages` from the summary of a study; do not edit."
BEGIN = "<!-- results: written by `python -m benchmarks.study_pages` -->"


def main() -> None:
    """Write all of them."""
    for name, folder in STUDIES.items():
        summary, words = summary_of(folder), (RESULTS / folder / "words.md").read_text(encoding="utf-8")
        chart, caption = picture_of(name, summary) if name in PICTURES else (None, "")
        (RECORDS / f"{name}.md").write_text(first_page(name, summary, words, caption), encoding="utf-8")
        (RECORDS / f"{name}-sets.md").write_text(appendix(name, summary), encoding="utf-8")
        if chart:
            picture = svg(chart.properties(background="white"), caption)
            (RECORDS / "images" / f"{name}.svg").write_text(f"{picture}\n", encoding="utf-8")
    PAGE.write_text(update_page(PAGE.read_text(encoding="utf-8"), summary_of(DEFAULT)), encoding="utf-8")


def first_page(name: str, summary: dict[str, Any], words: str, caption: str) -> str:
    """Return the page of a study: what came out, and what a person says of it."""
    split, table_of_all, *others = lead_blocks(summary)
    picture = f"![{caption}](images/{name}.svg)" if caption else ""
    elsewhere = f"The tables of each data set, and how the study was run, are in [an appendix]({name}-sets.md)."
    blocks: list[Block] = [Heading(f"Results: {summary['name']}", 1), Text(WRITTEN_BY), split, table_of_all]
    return to_markdown(
        [*blocks, Text(picture), *others, Text(words.strip()), *overall_blocks(summary), Text(elsewhere)]
    )


def picture_of(name: str, summary: dict[str, Any]) -> tuple[Chart | None, str]:
    """Return the picture of a study and its caption: differences of methods, or of joint and its controls."""
    if name != "size":
        return overview_chart(summary), picture_caption(summary)
    rows = [
        {"name": f"{label}, {data}", "group": control} | gains[key]
        for label, key in FIGURES.items()
        for data, data_set in summary["data"].items()
        for control in CONTROLS
        if key in (gains := data_set["systems"].get(f"joint/{control}", {}))
    ]
    caption = "What several vectors find and serve beyond their controls as the corpus grows, with 95 % intervals"
    return interval_chart(rows, "joint −", distinct_looks(CONTROLS)), caption


def appendix(name: str, summary: dict[str, Any]) -> str:
    """Return the page of each data set, and of how the study was run."""
    lead: list[Block] = [Heading(f"Results: {summary['name']}, by data set", 1), Text(WRITTEN_BY)]
    first = Text(f"What the figures say is on [the first page]({name}.md).")
    return to_markdown([*lead, first, *data_set_blocks(summary), *provenance_blocks(summary)])


def summary_of(folder: str) -> dict[str, Any]:
    """Return the kept summary of a study."""
    summary: dict[str, Any] = json.loads((RESULTS / folder / "summary.json").read_text(encoding="utf-8"))
    return summary


def update_page(page: str, summary: dict[str, Any]) -> str:
    """Return docs/results.md with its tables between the marks."""
    tables = [to_markdown([overview_table(summary)]), *controls_table(summary["data"])]
    return replace_table(BEGIN, "\n".join(tables).strip(), page)


def controls_table(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield what ``joint`` serves and finds beyond each control, by data set."""
    head, rows = ["joint −", ""], dict[tuple[str, str], list[str]]()
    for name, data_set in data.items():
        seeds = len(data_set["methods"]["joint"]["seeds"])
        head.append(f"{name}, {seeds} seed{'s' if seeds > 1 else ''}")
        for control, meaning in CONTROLS.items():
            gain = data_set["systems"].get(f"joint/{control}", {})  # none where one vector has the list of a seed
            main = data_set["budget"]
            keys = {f"served@{n}": f"served@{n}" for n in data_set["budgets"] if n != main}
            for label, key in (keys | {f"served@{main}": "served", f"HR@{main}": "hr"}).items():
                cell = format_difference(gain[key]) if key in gain else "–"
                rows.setdefault((meaning, label), []).append(cell)
    yield from table(head, ([*label, *cells] for label, cells in rows.items()))


if __name__ == "__main__":
    main()
