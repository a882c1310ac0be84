"""A readout as one HTML file: what moved first, then the figures, then what was done to the tables."""

from collections.abc import Mapping
from html import escape
from pathlib import Path

from multitudes.disk import write_text
from multitudes.readout.judge import Comparison
from multitudes.readout.readout import Readout
from multitudes.readout.verdict import interval, percent, standing, verdict
from multitudes.report.document import document
from multitudes.report.readout_figures import by_days, lifts
from multitudes.report.readout_tables import arm_sizes, heading, named, notes
from multitudes.report.svg import Chart, svg

_CAPTION = "Thick: for one planned look. Thin: for any number of looks. Coloured: shown, after Holm's correction."


def write_readout_report(of: Readout, out: Path) -> None:
    """Write the report of a readout; the file appears whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, readout_page(of))


def readout_page(of: Readout) -> str:
    """Return the page; every number in it comes from the readout."""
    everybody = named(of, of.metrics)
    cohorts = {cohort: named(of, metrics) for cohort, metrics in of.cohorts.items()}
    parts = {f"{name}, {cohort}": found[name] for name in everybody for cohort, found in cohorts.items()}
    days = [by_days(of, metric, arm) for metric, arms in of.metrics.items() for arm in arms]
    sections = {
        f"Against {of.control}": _figure(lifts(everybody), _CAPTION) + _table(everybody),
        "For whom": _figure(lifts(parts), _CAPTION) + _table(parts) if parts else "",
        "By days since the exposure": "".join(_figure(chart, "") for chart in days),
        "What was done": "".join(f"<p>{escape(note)}</p>\n" for note in notes(of)),
    }
    said = "".join(f"<p class=headline>{escape(line)}</p>\n" for line in verdict(of))
    body = "".join(f"<h2>{escape(title)}</h2>\n{text}\n" for title, text in sections.items() if text)
    head = f"<h1>Readout</h1>\n<p class=soft>{escape(heading(of).plain)}; {escape(arm_sizes(of).plain)}</p>\n"
    return document("Readout", head + said + body)


def _table(compared: Mapping[str, Comparison]) -> str:
    heads = ("control", "arm", "lift, 95 %", "at any look", "p, Holm")
    head = "".join(f"<th class=number>{name}</th>" for name in heads)
    rows = "".join(_row(name, found) for name, found in compared.items())
    return f'<div class="scroll"><table><tr><th>metric</th>{head}<th></th></tr>{rows}</table></div>'


def _row(name: str, found: Comparison) -> str:
    look = "" if not found.significant else " class=better" if (found.lift or 0) > 0 else " class=worse"
    if found.lift is None:
        return f"<tr><td>{escape(name)}</td><td colspan=6>{escape(found.reason or '')}</td></tr>"
    cells = (
        f"{found.control:.4g}",
        f"{found.treatment:.4g}",
        f"{percent(found.lift)} {interval(found.low, found.high)}",
        interval(found.sequential.low, found.sequential.high),
        f"{found.p_holm:.2g}",
    )
    numbers = "".join(f"<td class=number>{cell}</td>" for cell in cells)
    return f"<tr><td>{escape(name)}</td>{numbers}<td><span{look}>{standing(found)}</span></td></tr>"


def _figure(chart: Chart | None, caption: str) -> str:
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{svg(chart)}{below}</figure>\n" if chart is not None else ""
