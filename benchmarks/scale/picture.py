"""How preparing grows with the events: seconds and memory on logarithmic axes, beside growth in proportion."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from multitudes.report.svg import svg

CPU, CLOCK, PEAK = "processor seconds", "seconds by the clock", "peak memory"
PROPORTION = "in proportion"  # to the smallest size
# Told apart by people who see few colours (Okabe and Ito).
COLOURS = {CPU: "#0072B2", CLOCK: "#D55E00", PEAK: "#009E73", PROPORTION: "#a0a0a0"}
_MEASURES = {CPU: "cpu_s", CLOCK: "seconds", PEAK: "peak_mib"}
_WIDTH, _HEIGHT = 300, 240


def draw(growth: Mapping[str, Any], file: Path) -> None:
    """Write ``file``, an SVG; ``growth`` has a record for each number of events."""
    points = rows(growth)
    plots = [_plot(points, "seconds", CPU, CLOCK), _plot(points, "MiB", PEAK)]
    file.write_text(svg(alt.ConcatChart(concat=plots, columns=2).resolve_scale(color="independent")) + "\n")


def rows(growth: Mapping[str, Any]) -> pl.DataFrame:
    """Return one row for each measure and number of events: what was measured, and what proportion would come to."""
    found = [
        {"events": int(events), "measure": measure, "value": record["figures"]["prepare"][key]}
        for events, record in growth.items()
        for measure, key in _MEASURES.items()
    ]
    measured = pl.DataFrame(found).sort("measure", "events")
    first = pl.col("value").first() / pl.col("events").first()
    return measured.with_columns(proportion=(pl.col("events") * first).over("measure"))


def _plot(points: pl.DataFrame, unit: str, *measures: str) -> alt.LayerChart:
    there = [*measures, PROPORTION]
    scale = alt.Scale(domain=there, range=[COLOURS[name] for name in there])
    colour = alt.Color("measure:N", title=None, scale=scale)
    x = alt.X("events:Q", title="events", scale=alt.Scale(type="log"), axis=alt.Axis(format="~s", tickCount=3))
    y = alt.Y("value:Q", title=unit, scale=alt.Scale(type="log"), axis=alt.Axis(format=",", tickCount=5))
    measured = points.filter(pl.col("measure").is_in(measures))
    proportion = measured.filter(pl.col("measure") == measures[0]).select(
        "events", value="proportion", measure=pl.lit(PROPORTION)
    )
    layers = [
        alt.Chart(proportion).mark_line(aria=False, strokeDash=[5, 3]).encode(x=x, y=y, color=colour),
        alt.Chart(measured).mark_line(aria=False, point=True).encode(x=x, y=y, color=colour),
    ]
    return alt.LayerChart(layer=layers, width=_WIDTH, height=_HEIGHT, title=f"prepare: {unit}")
