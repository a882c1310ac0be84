"""The report of a study: one HTML file, in the order in which a sceptic asks; no script, no network, no other file."""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from multitudes.disk import write_text
from multitudes.report import study_figures as figures
from multitudes.report import study_tables as tables
from multitudes.report import study_words as words
from multitudes.report.document import document
from multitudes.report.ranks import critical_difference
from multitudes.report.study_record import record
from multitudes.report.svg import Chart, svg

_SECTIONS = {
    "data": "Data set by data set",
    "overall": "Who wins overall",
    "curves": "Hit rate against budget",
    "segments": "For whom",
    "health": "Diversity, and health of the interests",
    "costs": "What it costs",
    "record": "What was done",
}


def write_study_report(summary: dict[str, Any], out: Path) -> None:
    """Write the report of a study's summary; the file appears whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, study_page(summary))


def study_page(summary: dict[str, Any]) -> str:
    """Return the page; every number in it comes from the summary."""
    look = _look(summary)
    bodies = {
        "data": "".join(_data_set(name, part, summary["reference"]) for name, part in summary["data"].items()),
        "overall": _overall(summary),
        "curves": "".join(_curves(name, part, summary["reference"], look) for name, part in summary["data"].items()),
        "segments": _segments(summary, look),
        "health": "".join(_health(name, part, summary) for name, part in summary["data"].items()),
        "costs": "".join(_costs(name, part, summary) for name, part in summary["data"].items()),
        "record": record(summary),
    }
    links = "".join(f'<a href="#{key}">{_SECTIONS[key]}</a>' for key, body in bodies.items() if body)
    sections = "".join(f'<h2 id="{key}">{_SECTIONS[key]}</h2>\n{body}\n' for key, body in bodies.items() if body)
    return document(str(summary["name"]), f"{_head(summary)}\n<nav>{links}</nav>\n{sections}", "study.css")


def _look(summary: dict[str, Any]) -> figures.Look:
    """Return the look of the methods that figures show: the reference first, so that it stays; popularity last."""
    found = [m for part in summary["data"].values() for m, v in part["methods"].items() if v["role"] == "method"]
    popularity = [m for part in summary["data"].values() for m in part["methods"] if m == "popularity"]
    first = [summary["reference"]] if summary["reference"] in found else []
    shown = dict.fromkeys([*first, *found, *popularity])
    return figures.Look({method: place for place, method in enumerate(shown)})


def _head(summary: dict[str, Any]) -> str:
    seeds = ", ".join(map(str, summary["seeds"]))
    said = "".join(f"<p class=headline>{escape(sentence)}</p>\n" for sentence in words.headlines(summary))
    failed = f"Cells that failed: {len(summary['failed'])}; they are named under"
    note = f'<p class=note>{failed} <a href="#record">{_SECTIONS["record"]}</a>.</p>\n' if summary["failed"] else ""
    return (
        f"<h1>{escape(str(summary['name']))}</h1>\n<p class=soft>{words.sets(len(summary['data']))} · seeds {seeds} ·"
        f" {words.about_split(summary)}</p>\n{said}{note}<p class=soft>{escape(words.how_judged(summary))}</p>"
    )


def _data_set(name: str, part: dict[str, Any], reference: str) -> str:
    """Return the tables and the picture of one data set."""
    chart = figures.differences(part, reference)
    caption = f"What each gains over {reference}, with 95 % intervals. Controls are judged in the table above."
    blocks = [
        f"<h3>{escape(name)}</h3>",
        f"<p class=soft>{words.about_data(part)}</p>",
        _note("" if reference in part["methods"] else f"{reference}, the reference, has no figure here."),
        tables.methods_table(part, reference, tables.ordered(part)),
        _titled("Have interests won?", tables.controls_table(part, reference)),
        _figure(chart, caption) if chart else "",
        _titled("The same models, asked otherwise", tables.other_controls_table(part, reference)),
        _titled("All targets, repeats too", tables.all_targets_table(part)),
    ]
    return "\n".join(block for block in blocks if block)


def _overall(summary: dict[str, Any]) -> str:
    found = summary["overall"]
    said, left_out = words.conclusion(found, summary["level"]), ", ".join(found["left_out"])
    chart = critical_difference(found)
    caption = (
        "Average rank over the data sets; a bar joins methods of which no pair is told apart (Wilcoxon's signed-rank"
        " test, exact, with Holm's correction over the pairs)."
    )
    blocks = [
        tables.wins_table(summary),
        f"<p>{escape(said)}</p>" if found["enough"] else _note(said),
        f"<p class=soft>Not ranked, since not on every data set: {escape(left_out)}.</p>" if left_out else "",
        _figure(chart, caption) if chart else "",
    ]
    return "\n".join(block for block in blocks if block)


def _curves(name: str, part: dict[str, Any], reference: str, look: figures.Look) -> str:
    gains = f"The same beside {reference}, in per cent, with 95 % intervals."
    drawn = _row(
        [
            (figures.curves(part, look), "Hit rate against the number of candidates; both axes logarithmic."),
            (figures.gains_by_budget(part, reference, look), gains),
        ]
    )
    return _kept(name, drawn) if drawn else ""


def _segments(summary: dict[str, Any], look: figures.Look) -> str:
    rows = {
        name: _row(
            (chart, f"By {title}; in brackets the targets.")
            for title, chart in figures.segments(part, summary["reference"], look)
        )
        for name, part in summary["data"].items()
    }
    drawn = "\n".join(_kept(name, row) for name, row in rows.items() if row)
    about = (
        f"Differences to {summary['reference']} with 95 % intervals. They show where a gain comes from and are not"
        f" judged one by one; segments of fewer than {summary['fewest_users']} users are left out."
    )
    return f"<p class=soft>{escape(about)}</p>\n{drawn}" if drawn else ""


def _health(name: str, part: dict[str, Any], summary: dict[str, Any]) -> str:
    health = summary["health"].get(name, {})
    chart = figures.sources(health)
    drawn = _figure(chart, "Which vectors bring the hits; mean over seeds.") if chart else ""
    return f"<h3>{escape(name)}</h3>\n{tables.diversity_table(part)}\n{tables.health_table(health)}\n{drawn}"


def _costs(name: str, part: dict[str, Any], summary: dict[str, Any]) -> str:
    costs = summary["costs"].get(name, {})
    return _kept(name, tables.costs_table(costs, part)) if costs else ""


def _row(charts: Iterable[tuple[Chart | None, str]]) -> str:
    drawn = "".join(_figure(chart, caption) for chart, caption in charts if chart is not None)
    return f'<div class="row">{drawn}</div>' if drawn else ""


def _kept(name: str, body: str) -> str:
    """Return what stays together on a printed page."""
    return f"<section class=kept>\n<h3>{escape(name)}</h3>\n{body}\n</section>\n"


def _figure(chart: Chart, caption: str) -> str:
    return f"<figure>{svg(chart)}<figcaption>{escape(caption)}</figcaption></figure>\n"


def _titled(title: str, body: str) -> str:
    return f"<h4>{escape(title)}</h4>\n{body}" if body else ""


def _note(text: str) -> str:
    return f"<p class=note>{escape(text)}</p>" if text else ""
