"""Recall against time, for each engine and corpus."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
import vl_convert

from benchmarks.index.records import Corpus
from benchmarks.index.requests import IN_FULL
from benchmarks.index.world import DEPTH
from multitudes.report.html_elements import CHART_CONFIG, svg

# Told apart by people who see few colours (Okabe and Ito); FAISS of the usual make is dashed.
COLOURS = {"exact": "#111111", "inverted": "#0072B2"}
MAKES = {"ours": "multitudes", "faiss": "FAISS, usual make"}
_LOWEST = 0.8  # recall from which the picture begins
_COLUMNS = 2
_WIDTH, _HEIGHT = 330, 250
_ROOM = 1.2
_TICKS = [step * 10.0**power for power in range(-2, 4) for step in (1, 2, 3, 5, 7)]


def draw(corpora: Iterable[Corpus], file: Path) -> None:
    """Write ``file`` as SVG and PNG; nothing where no curve was measured."""
    plots = [_plot(corpus) for corpus in corpora if any("curve" in parts for parts in corpus.engines.values())]
    if not plots:
        return
    chart = alt.ConcatChart(concat=plots, columns=_COLUMNS)
    file.with_suffix(".svg").write_text(svg(chart) + "\n", encoding="utf-8")
    file.with_suffix(".png").write_bytes(
        vl_convert.vegalite_to_png(chart.to_dict() | {"config": CHART_CONFIG}, scale=1.5)
    )


def rows(corpus: Corpus) -> pl.DataFrame:
    """Return one row for each point: of the curves, and what a request of each index comes to as it was tuned."""
    found: list[dict[str, Any]] = []
    for engine, parts in corpus.engines.items():
        for make, points in parts.get("curve", {}).items():
            found += [_row(engine, MAKES[make], point, tuned=False) for point in points]
        if "requests" in parts:
            found.append(_row(engine, MAKES["ours"], parts["requests"][IN_FULL], tuned=True))
    return pl.DataFrame(found).filter(pl.col("recall") >= _LOWEST)


def _row(engine: str, make: str, point: dict[str, Any], *, tuned: bool) -> dict[str, Any]:
    ms = point["cpu_ms"]["p50"]["median"]
    return {"engine": engine, "make": make, "recall": point["recall"], "ms": ms, "tuned": tuned}


def _plot(corpus: Corpus) -> alt.LayerChart:
    points = rows(corpus)
    x = alt.X("recall:Q", title=f"recall at {DEPTH}", scale=alt.Scale(domain=[_LOWEST, 1], nice=False))
    y = alt.Y(
        "ms:Q",
        title="CPU ms of a request of 12 vectors",
        scale=alt.Scale(type="log", domain=_ends(points)),
        axis=alt.Axis(values=_TICKS),
    )
    colour = alt.Color(
        "engine:N",
        title=None,
        scale=alt.Scale(domain=list(COLOURS), range=list(COLOURS.values())),
        legend=alt.Legend(symbolType="diamond", symbolStrokeWidth=0),
    )
    dash = alt.StrokeDash(
        "make:N",
        title=None,
        scale=alt.Scale(domain=list(MAKES.values()), range=[[1, 0], [5, 3]]),
        legend=alt.Legend(symbolType="stroke", symbolSize=400, symbolStrokeWidth=1.8, symbolStrokeColor="#111111"),
    )
    title = alt.TitleParams(str(corpus), subtitle="diamonds: as tuned", fontSize=13, subtitleFontSize=11)
    base, asked = alt.Chart(points.filter(~pl.col("tuned"))), alt.Chart(points.filter("tuned"))
    layers = [
        base.mark_line(strokeWidth=1.8, aria=False).encode(x=x, y=y, color=colour, strokeDash=dash, order="ms:Q"),
        base.mark_point(filled=True, size=18, opacity=1, aria=False).encode(x=x, y=y, color=colour),
        asked.mark_point(filled=True, size=150, shape="diamond", opacity=1, aria=False).encode(x=x, y=y, color=colour),
    ]
    return alt.LayerChart(layer=layers, width=_WIDTH, height=_HEIGHT, title=title)


def _ends(points: pl.DataFrame) -> list[float]:
    """Return the ends of the axis of time: what there is, and a little room."""
    ms = points["ms"].to_numpy()
    return [float(ms.min()) / _ROOM, float(ms.max()) * _ROOM]
