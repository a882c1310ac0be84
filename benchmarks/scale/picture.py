"""The picture of growth: the cost of each stage over events or items, on logarithmic axes, with its slope."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import polars as pl

from benchmarks.unit_costs import index_steps
from multitudes.report.charts import PALETTE, SHAPES
from multitudes.report.html_elements import svg

WHOLE, ONE = "CPU seconds of the whole stage", "milliseconds of one"
_SIZE = {WHOLE: "events (index: items)", ONE: "items"}


class Cell(NamedTuple):
    """One measured cost."""

    axis: str  # WHOLE or ONE
    stage: str
    size: int
    cost: float
    is_loaded: bool  # whether more processes than cores wanted to run meanwhile


def cells(scale: Mapping[str, Any], index: list[dict[str, Any]]) -> list[Cell]:
    """Return every cost that the records of scale and of the index have, by stage and size."""
    return sorted(_cells(scale, index), key=lambda cell: (cell.axis, cell.stage, cell.size))


def _cells(scale: Mapping[str, Any], index: list[dict[str, Any]]) -> Iterator[Cell]:
    for record in scale["growth"].values():
        for stage in ("synth", "prepare"):
            yield Cell(WHOLE, stage, record["figures"]["events"], record["figures"][stage]["cpu_s"], _is_loaded(record))
    for record in scale.get("linear", {}).values():
        yield Cell(
            WHOLE, "linear fit", record["figures"]["events"], record["figures"]["linear"]["cpu_s"], _is_loaded(record)
        )
    for record in index_steps(index, "build"):
        yield Cell(WHOLE, "index build", record["step"]["items"], record["figures"]["cpu_s"], _is_loaded(record))
    for record in index_steps(index, "requests"):
        searched = record["figures"]["12 x 100"]["cpu_ms"]["p50"]["median"]
        yield Cell(ONE, "search, a request", record["step"]["items"], searched, _is_loaded(record))
    for record in scale.get("training", {}).values():
        trained = record["figures"]["train"]
        yield Cell(ONE, "training, a target", trained["items"], 1000 / trained["targets_per_s"], _is_loaded(record))
    for record in scale.get("everybody", {}).values():
        figures = record["figures"]
        yield Cell(ONE, "batch, a user", figures["items"], 1000 / figures["users_per_cpu_s"], _is_loaded(record))


def _is_loaded(record: Mapping[str, Any]) -> bool:
    return bool(max(record["load"].values()) > record["machine"]["cores"] + 1)  # the measurement is one of them


def slopes(measured: list[Cell]) -> dict[str, float]:
    """Return the exponent of the size in the cost of each stage, by least squares on the logarithms."""
    found = {}
    for stage in dict.fromkeys(cell.stage for cell in measured):
        own = [(cell.size, cell.cost) for cell in measured if cell.stage == stage]
        if len({size for size, _ in own}) > 1:
            size, cost = np.log(np.asarray(own)).T
            found[stage] = float(np.polyfit(size, cost, 1)[0])
    return found


def draw(measured: list[Cell], file: Path) -> None:
    """Write ``file`` as SVG: a panel for whole stages and one for single targets, requests and users."""
    panels = [_panel([cell for cell in measured if cell.axis == axis], axis) for axis in (WHOLE, ONE)]
    chart: alt.ConcatChart = alt.concat(*panels, columns=2).resolve_scale(color="independent", shape="independent")
    label = "Cost of each stage over events or items, on logarithmic axes, with the slope of each"
    file.write_text(svg(chart, label) + "\n", encoding="utf-8")


def _panel(measured: list[Cell], axis: str) -> alt.LayerChart | alt.FacetChart:
    found = slopes(measured)
    stages = dict.fromkeys(cell.stage for cell in measured)
    names = {stage: f"{stage}: slope {found[stage]:.2f}" if stage in found else stage for stage in stages}
    rows = pl.DataFrame([cell._asdict() | {"name": names[cell.stage]} for cell in measured])
    legend = alt.Legend(title=None, orient="bottom", columns=1, labelLimit=260, symbolOpacity=1)
    base = alt.Chart(rows).encode(
        alt.X("size:Q", title=_SIZE[axis]).scale(type="log").axis(format="~s", tickCount=5),
        alt.Y("cost:Q", title=axis).scale(type="log").axis(format="~g", tickCount=6),
        alt.Color("name:N").scale(domain=[*names.values()], range=PALETTE[: len(names)]).legend(legend),
        alt.Shape("name:N").scale(domain=[*names.values()], range=SHAPES[: len(names)]).legend(legend),
    )
    lines = base.mark_line(aria=False, strokeWidth=1.5).encode(shape=alt.Undefined)
    marks = base.mark_point(aria=False, size=70, opacity=1, filled=True)
    hollow = base.transform_filter("datum.is_loaded").mark_point(aria=False, size=70, opacity=1, fill="white")
    return alt.layer(lines, marks, hollow).properties(width=330, height=320)
