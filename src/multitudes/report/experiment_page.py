"""The figures of a readout: pure functions from it to a chart.

A readout as one HTML file: what moved first, then the figures, then what was done to the tables.
"""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from multitudes.atomic import write_text
from multitudes.errors import missing_extra
from multitudes.experiments.comparison import Comparison
from multitudes.experiments.readout import Readout
from multitudes.experiments.summary import conclusion, format_lift, format_lift_interval, verdict
from multitudes.report.experiment_tables import arm_sizes, comparisons_by_name, heading, notes
from multitudes.report.html_elements import PLOT_WIDTH, Chart, forest_plot, html_document, svg, zero_line

try:
    import altair as alt
except ImportError:
    raise missing_extra("altair", "report") from None

_VERDICT_SHAPES = {"up": "triangle-up", "not shown": "circle", "down": "triangle-down"}


def lift_chart(compared: Mapping[str, Comparison]) -> alt.LayerChart | None:
    """Show lifts by name: the thick line is for one planned look, the thin one for any number of looks."""
    rows = [row for name, found in compared.items() if (row := _chart_row(found) | {"name": name})["lift"] is not None]
    bars = [("always_low", "always_high", 1), ("low", "high", 4)]
    return forest_plot(
        rows, _VERDICT_SHAPES, bars, alt.X("always_low:Q", title="lift, %").axis(tickCount=5, format="+.3~f")
    )


def lift_by_days_chart(of: Readout, metric: str, arm: str) -> alt.LayerChart | None:
    """Show the lift of one metric and arm by days since the exposure; None where there are fewer than two."""
    rows = [
        {"days": str(first) if end == first + 1 else f"{first}–{end - 1}"} | _chart_row(metrics[metric][arm])
        for (first, end), metrics in of.days.items()
        if metrics[metric][arm].lift is not None
    ]
    if len(rows) < 2:
        return None
    days = alt.X("days:N", sort=[row["days"] for row in rows], title="days since the exposure").axis(labelAngle=0)
    base = alt.Chart(pl.DataFrame(rows, infer_schema_length=None)).encode(x=days, color=alt.value("#2f5d8a"))
    bars = base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", title=f"lift of {metric}, %"), y2="high:Q")
    points = base.mark_point(filled=True, size=60, opacity=1).encode(y="lift:Q")
    drawn: alt.LayerChart = zero_line("y") + bars + points
    return drawn.properties(width=PLOT_WIDTH, height=160)


def _chart_row(of: Comparison) -> dict[str, Any]:
    """Return a comparison in percent."""
    ends = {"lift": of.lift, "low": of.low, "high": of.high}
    ends |= {"always_low": of.sequential.low, "always_high": of.sequential.high}
    verdict = "not shown" if not of.significant else "up" if (of.lift or 0) > 0 else "down"
    return {name: None if end is None else 100 * end for name, end in ends.items()} | {"verdict": verdict}


_LIFT_CAPTION = "Thick: for one planned look. Thin: for any number of looks. Coloured: shown, after Holm's correction."


def write_experiment_page(of: Readout, out: Path) -> None:
    """Write the report of a readout; the file appears whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, experiment_page(of))


def experiment_page(of: Readout) -> str:
    """Return the page; every number in it comes from the readout."""
    everybody = comparisons_by_name(of, of.metrics)
    cohorts = {cohort: comparisons_by_name(of, metrics) for cohort, metrics in of.cohorts.items()}
    parts = {f"{name}, {cohort}": found[name] for name in everybody for cohort, found in cohorts.items()}
    days = [lift_by_days_chart(of, metric, arm) for metric, arms in of.metrics.items() for arm in arms]
    sections = {
        f"Against {of.control}": _figure(lift_chart(everybody), _LIFT_CAPTION) + _comparison_table(everybody),
        "For whom": _figure(lift_chart(parts), _LIFT_CAPTION) + _comparison_table(parts) if parts else "",
        "By days since the exposure": "".join(_figure(chart, "") for chart in days),
        "What was done": "".join(f"<p>{escape(note)}</p>\n" for note in notes(of)),
    }
    said = "".join(f"<p class=headline>{escape(line)}</p>\n" for line in verdict(of))
    body = "".join(f"<h2>{escape(title)}</h2>\n{text}\n" for title, text in sections.items() if text)
    head = f"<h1>Readout</h1>\n<p class=soft>{escape(heading(of).plain)}; {escape(arm_sizes(of).plain)}</p>\n"
    return html_document("Readout", head + said + body)


def _comparison_table(compared: Mapping[str, Comparison]) -> str:
    heads = ("control", "arm", "lift, 95 %", "at any look", "p, Holm")
    head = "".join(f"<th class=number>{name}</th>" for name in heads)
    rows = "".join(_comparison_row(name, found) for name, found in compared.items())
    return f'<div class="scroll"><table><tr><th>metric</th>{head}<th></th></tr>{rows}</table></div>'


def _comparison_row(name: str, found: Comparison) -> str:
    look = "" if not found.significant else " class=better" if (found.lift or 0) > 0 else " class=worse"
    if found.lift is None:
        return f"<tr><td>{escape(name)}</td><td colspan=6>{escape(found.reason or '')}</td></tr>"
    cells = (
        f"{found.control:.4g}",
        f"{found.treatment:.4g}",
        f"{format_lift(found.lift)} {format_lift_interval(found.low, found.high)}",
        format_lift_interval(found.sequential.low, found.sequential.high),
        f"{found.p_holm:.2g}",
    )
    numbers = "".join(f"<td class=number>{cell}</td>" for cell in cells)
    return f"<tr><td>{escape(name)}</td>{numbers}<td><span{look}>{conclusion(found)}</span></td></tr>"


def _figure(chart: Chart | None, caption: str) -> str:
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{svg(chart)}{below}</figure>\n" if chart is not None else ""
