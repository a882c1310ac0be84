"""The HTML report of an experiment: conclusions, lifts of all users and of cohorts, then notes on the tables."""

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
from multitudes.report.html_elements import PLOT_WIDTH, figure, forest_plot, html_document, table_element, zero_line

try:
    import altair as alt
except ImportError:
    raise missing_extra("altair", "report") from None

_VERDICT_SHAPES = {"up": "triangle-up", "not significant": "circle", "down": "triangle-down"}
_LIFT_CAPTION = (
    "Thick: for one planned look. Thin: for any number of looks. Coloured: significant after Holm's correction."
)


def write_experiment_page(readout: Readout, out: Path) -> None:
    """Write the report of an experiment atomically to ``out``."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, experiment_page(readout))


def experiment_page(readout: Readout) -> str:
    """Return the page. All its figures come from the readout."""
    all_users = comparisons_by_name(readout, readout.metrics)
    cohorts = {cohort: comparisons_by_name(readout, metrics) for cohort, metrics in readout.cohorts.items()}
    by_cohort = {f"{name}, {cohort}": lifts[name] for name in all_users for cohort, lifts in cohorts.items()}
    days = [lift_by_days_chart(readout, metric, arm) for metric, arms in readout.metrics.items() for arm in arms]
    sections = {
        f"Against {readout.control}": figure(lift_chart(all_users), _LIFT_CAPTION) + _comparison_table(all_users),
        "By cohort": figure(lift_chart(by_cohort), _LIFT_CAPTION) + _comparison_table(by_cohort) if by_cohort else "",
        "By days since the exposure": "".join(figure(chart, "Lift by days since the exposure.") for chart in days),
        "Notes": "".join(f"<p>{escape(note)}</p>\n" for note in notes(readout)),
    }
    headlines = "".join(f"<p class=headline>{escape(line)}</p>\n" for line in verdict(readout))
    body = "".join(f"<h2>{escape(title)}</h2>\n{text}\n" for title, text in sections.items() if text)
    head = f"<h1>Readout</h1>\n<p class=soft>{escape(heading(readout).plain)}; {escape(arm_sizes(readout).plain)}</p>\n"
    return html_document("Readout", head + headlines + body)


def _comparison_table(comparisons: Mapping[str, Comparison]) -> str:
    heads = ("control", "arm", "lift, 95 %", "at any look", "p, Holm")
    head = "".join(f"<th class=number>{name}</th>" for name in heads)
    rows = "".join(_comparison_row(name, one) for name, one in comparisons.items())
    return table_element(f"<tr><th>metric</th>{head}<th></th></tr>{rows}", "Lift of each metric")


def _comparison_row(name: str, one: Comparison) -> str:
    style = "" if not one.significant else " class=better" if (one.lift or 0) > 0 else " class=worse"
    if one.lift is None:
        return f"<tr><td>{escape(name)}</td><td colspan=6>{escape(one.reason or '')}</td></tr>"
    cells = (
        f"{one.control:.4g}",
        f"{one.treatment:.4g}",
        f"{format_lift(one.lift)} {format_lift_interval(one.low, one.high)}",
        format_lift_interval(one.sequential.low, one.sequential.high),
        f"{one.p_holm:.2g}",
    )
    numbers = "".join(f"<td class=number>{cell}</td>" for cell in cells)
    return f"<tr><td>{escape(name)}</td>{numbers}<td><span{style}>{conclusion(one)}</span></td></tr>"


def lift_chart(comparisons: Mapping[str, Comparison]) -> alt.LayerChart | None:
    """Return a forest plot of lifts by name, with intervals for one planned look (thick) and for any number (thin)."""
    rows = [row for name, one in comparisons.items() if (row := _chart_row(one) | {"name": name})["lift"] is not None]
    bars = [("always_low", "always_high", 1), ("low", "high", 4)]
    return forest_plot(
        rows, _VERDICT_SHAPES, bars, alt.X("always_low:Q", title="lift, %").axis(tickCount=5, format="+.3~f")
    )


def lift_by_days_chart(readout: Readout, metric: str, arm: str) -> alt.LayerChart | None:
    """Return the lift of one metric and arm by days since the exposure; None for fewer than two periods."""
    rows = [
        {"days": str(first) if end == first + 1 else f"{first}–{end - 1}"} | _chart_row(metrics[metric][arm])
        for (first, end), metrics in readout.days.items()
        if metrics[metric][arm].lift is not None
    ]
    if len(rows) < 2:
        return None
    days = alt.X("days:N", sort=[row["days"] for row in rows], title="days since the exposure").axis(labelAngle=0)
    base = alt.Chart(pl.DataFrame(rows, infer_schema_length=None)).encode(x=days, color=alt.value("#2f5d8a"))
    bars = base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", title=f"lift of {metric}, %"), y2="high:Q")
    points = base.mark_point(filled=True, size=60, opacity=1).encode(y="lift:Q")
    chart: alt.LayerChart = zero_line("y") + bars + points
    return chart.properties(width=PLOT_WIDTH, height=160)


def _chart_row(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as a row of a chart, in percent."""
    ends = {"lift": comparison.lift, "low": comparison.low, "high": comparison.high}
    ends |= {"always_low": comparison.sequential.low, "always_high": comparison.sequential.high}
    verdict = "not significant" if not comparison.significant else "up" if (comparison.lift or 0) > 0 else "down"
    return {name: None if end is None else 100 * end for name, end in ends.items()} | {"verdict": verdict}
