"""Where the time of an answer goes, as bars: of the processor, and by the clock of a service under load."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from benchmarks.service.run import STAGE
from benchmarks.service.stage_costs import STAGES
from multitudes.report.html_elements import CHART_CONFIG, svg

REST = "HTTP and threads"
WAIT = "wait"  # for those that came before
CPU, WALL = "processor, ms", "clock, ms"
# Told apart by people who see few colours (Okabe and Ito, and their shades).
COLOURS = {
    "body": "#a0a0a0",
    "state": "#E69F00",
    WAIT: "#dcdcdc",
    "users": "#F0E442",
    "tower": "#009E73",
    "search": "#0072B2",
    "blend": "#56B4E9",
    "names": "#CC79A7",
    "log": "#D55E00",
    "measures": "#A6761D",
    "json": "#7570B3",
    REST: "#444444",
}
_WIDTH, _BAR = 560, 26

__all__ = ["CHART_CONFIG", "draw", "rows", "title"]


def title(record: Mapping[str, Any]) -> str:
    """Say of what size a record is."""
    workers = record["plan"].get("workers", 1)
    many = f", {workers} processes" if workers > 1 else ""
    return f"{record['sizes']['items']:,} items, {record['plan']['rate']:g} requests a second{many}"


def draw(records: list[dict[str, Any]], file: Path) -> None:
    """Write ``file`` as SVG."""
    plots = [_plot(rows(record), title(record), clock) for record in records for clock in (CPU, WALL)]
    chart = alt.ConcatChart(concat=plots, columns=1).resolve_scale(x="independent")
    file.with_suffix(".svg").write_text(svg(chart) + "\n", encoding="utf-8")


def rows(record: Mapping[str, Any]) -> pl.DataFrame:
    """Return one row for each method, clock and stage: mean milliseconds of a request."""
    found = []
    for method, one in record["figures"]["methods"].items():
        for clock, stage_ms in ((CPU, cpu_ms(one)), (WALL, wall_ms(one))):
            found += [
                {"method": method, "clock": clock, "stage": stage, "ms": ms, "place": list(COLOURS).index(stage)}
                for stage, ms in stage_ms.items()
            ]
    return pl.DataFrame(found)


def cpu_ms(one: Mapping[str, Any]) -> dict[str, float]:
    """Return the processor's milliseconds of each stage, and of what is in none of them."""
    within = one["inside_cpu_ms"]
    stages = {stage: within["stages"][stage]["median"] for stage in STAGES}
    return stages | {REST: max(0.0, one["cpu_ms"]["median"] - within["all"]["median"])}


def wall_ms(one: Mapping[str, Any]) -> dict[str, float]:
    """Return the milliseconds of each stage by the clock, as a service under load says."""
    found = {name.removeprefix(STAGE): value["median"] for name, value in one.items() if name.startswith(STAGE)}
    return {stage: found[stage] for stage in COLOURS if stage in found}


def _plot(points: pl.DataFrame, said: str, clock: str) -> alt.Chart:
    there = [stage for stage in COLOURS if stage in set(points["stage"])]
    scale = alt.Scale(domain=there, range=[COLOURS[stage] for stage in there])
    bars = alt.Chart(points.filter(pl.col("clock") == clock)).mark_bar(aria=False, size=_BAR)
    drawn: alt.Chart = bars.encode(
        x=alt.X("ms:Q", title=clock, stack="zero"),
        y=alt.Y("method:N", title=None, sort=["single", "joint"]),
        color=alt.Color("stage:N", title=None, scale=scale, legend=alt.Legend(columns=6)),
        order=alt.Order("place:Q"),
    ).properties(width=_WIDTH, height=2 * (_BAR + 10), title=said)
    return drawn
