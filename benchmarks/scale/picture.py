"""How preparing grows with the events: seconds beside proportion, memory beside its goal, on logarithmic axes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from multitudes.report.html_elements import svg

CPU, CLOCK, PEAK = "processor seconds", "seconds by the clock", "peak memory"
PROPORTION, GOAL = "in proportion", "the goal, 2 GB"
GOAL_MIB = 2e9 / 2**20
# Told apart by people who see few colours (Okabe and Ito).
COLOURS = {CPU: "#0072B2", CLOCK: "#D55E00", PEAK: "#009E73", PROPORTION: "#a0a0a0", GOAL: "#a0a0a0"}
_MEASURES = {CPU: "cpu_s", CLOCK: "seconds", PEAK: "peak_mib"}
_WIDTH, _HEIGHT = 300, 240


def draw(growth: Mapping[str, Any], file: Path) -> None:
    """Write ``file``, an SVG; ``growth`` has a record for each number of events."""
    points = rows(growth)
    plots = [_plot(points, "seconds", CPU, CLOCK, PROPORTION), _plot(points, "MiB", PEAK, GOAL)]
    chart = alt.ConcatChart(concat=plots, columns=2).resolve_scale(color="independent")
    file.write_text(svg(chart) + "\n", encoding="utf-8")


def rows(growth: Mapping[str, Any]) -> pl.DataFrame:
    """Return one row for each measure and number of events: (events, measure, value).

    In proportion are the processor seconds of the smallest size.
    """
    figures = {int(events): record["figures"]["prepare"] for events, record in growth.items()}
    least = min(figures)
    found: list[tuple[int, str, float]] = []
    for events, of in figures.items():
        found += [(events, measure, float(of[key])) for measure, key in _MEASURES.items()]
        found += [(events, PROPORTION, figures[least]["cpu_s"] * events / least), (events, GOAL, GOAL_MIB)]
    return pl.DataFrame(found, schema=["events", "measure", "value"], orient="row").sort("measure", "events")


def _plot(points: pl.DataFrame, unit: str, *measures: str) -> alt.LayerChart:
    *measured, beside = measures
    scale = alt.Scale(domain=measures, range=[COLOURS[name] for name in measures])
    encoded = {
        "x": alt.X("events:Q", title="events", scale=alt.Scale(type="log"), axis=alt.Axis(format="~s", tickCount=3)),
        "y": alt.Y("value:Q", title=unit, scale=alt.Scale(type="log"), axis=alt.Axis(format=",~r", tickCount=4)),
        "color": alt.Color("measure:N", title=None, scale=scale),
    }
    line = alt.Chart(points.filter(measure=beside)).mark_line(aria=False, strokeDash=[5, 3])
    lines = alt.Chart(points.filter(pl.col("measure").is_in(measured))).mark_line(aria=False, point=True)
    layers = [line.encode(**encoded), lines.encode(**encoded)]
    return alt.LayerChart(layer=layers, width=_WIDTH, height=_HEIGHT, title=f"prepare, {unit}")
