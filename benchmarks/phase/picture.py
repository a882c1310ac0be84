"""The picture: what several vectors bring over depth at coverage, in planted worlds and on real sets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import polars as pl

from benchmarks.phase.cell import ONE, OPTIMUM, POOL, SEVERAL
from multitudes.report.html_elements import svg

GAIN = 0.05  # of the interests served, from which several vectors pay
# Told apart by people who see few colours (Okabe and Ito).
_COLOURS = ("#56B4E9", "#0072B2", "#D55E00")
_FILLED = {ONE: 1, OPTIMUM: 0}
_LINES = ["filled: one vector fitted to the history; hollow: to all that the user wants", "black: real sets"]
_CANNOT, _MUST, _TEXT = "#e3f1ea", "#fbe6d8", "#222222"
_WIDTH, _HEIGHT = 500, 400
_LOWEST, _HIGHEST = -0.06, 0.86  # gains that are drawn
_LABELS_FROM, _LABELS_TO = 0.15, 0.6


class RealSet(NamedTuple):
    """A data set of a study: interests served beyond the calibrated one vector, with the interval over its users."""

    name: str
    depth: float  # share of the 6 N proposals
    served: Mapping[str, float]
    hits: Mapping[str, float]


class Bounds(NamedTuple):
    """Depths between which several vectors pay in some worlds: below in none, above in all."""

    cannot: float
    must: float


def points(cells: Mapping[str, Any]) -> pl.DataFrame:
    """Return one row for each cell and one vector of it: depth, gain, and what the world is like."""
    return pl.DataFrame(
        [
            {
                "depth": cell["depth"][arm] / POOL,
                "gain": cell["served gain"][f"{SEVERAL} − {arm}"]["mean"],
                "items": f"{cell['setting']['items']:,}",
                "width": str(cell["setting"]["width"]),
                "filled": filled,
            }
            for cell in cells.values()
            for arm, filled in _FILLED.items()
        ]
    )


def bounds(cells: Mapping[str, Any]) -> Bounds:
    """Return the depths that separate worlds with a gain of ``GAIN`` from worlds without.

    Where all worlds are alike, one of the two has no room.
    """
    depth, gain = (points(cells)[name].to_numpy() for name in ("depth", "gain"))
    lowest = float(depth[gain >= GAIN].min(initial=depth.max()))
    highest = float(depth[gain < GAIN].max(initial=depth.min()))
    return Bounds(min(lowest, highest), max(lowest, highest))


def draw(cells: Mapping[str, Any], sets: Sequence[RealSet], file: Path) -> None:
    """Write ``file`` as SVG."""
    label = "Interests served beyond the calibrated one vector, over depth at coverage: planted worlds and real sets"
    file.write_text(svg(chart(cells, sets), label) + "\n", encoding="utf-8")


def chart(cells: Mapping[str, Any], sets: Sequence[RealSet]) -> alt.LayerChart:
    """Return the chart."""
    found = points(cells)
    ends = [float(found["depth"].min()) / 1.3, float(found["depth"].max()) * 1.5]  # type: ignore[arg-type]
    axes = (
        alt.X("depth:Q", title="depth at coverage, as a share of one vector's 6 N proposals")
        .scale(type="log", domain=ends, nice=False)
        .axis(format="~%", values=[0.001, 0.01, 0.1, 1, 10], grid=False),
        alt.Y("gain:Q", title="interests served: several vectors − one vector")
        .scale(domain=[_LOWEST, _HIGHEST], nice=False)
        .axis(format="+.1~f", values=[0, 0.2, 0.4, 0.6, 0.8]),
    )
    layers = [*_regions(bounds(cells), ends, axes), _worlds(found, axes), *_sets(sets, axes)]
    title = alt.TitleParams(
        "When several vectors pay", subtitle=_LINES, anchor="start", fontSize=14, subtitleFontSize=12
    )
    return alt.LayerChart(layer=layers, width=_WIDTH, height=_HEIGHT, title=title)


Axes = tuple[alt.X, alt.Y]


def _regions(at: Bounds, ends: list[float], axes: Axes) -> list[alt.Chart]:
    parts = [(ends[0], at.cannot, "several\ncannot pay"), (at.must, ends[1], "several\nmust pay")]
    layers = []
    for (start, end, said), colour in zip(parts, (_CANNOT, _MUST), strict=True):
        area = pl.DataFrame({"depth": [start], "end": [end], "gain": [_LOWEST], "top": [_HIGHEST]})
        layers.append(
            alt.Chart(area).mark_rect(aria=False, color=colour, opacity=1).encode(*axes, x2="end:Q", y2="top:Q")
        )
        corner = pl.DataFrame({"depth": [start], "gain": [_HIGHEST - 0.03], "said": [said]})
        text = alt.Chart(corner).mark_text(
            aria=False, align="left", dx=8, baseline="top", fontSize=13, lineBreak="\n", color=_TEXT
        )
        layers.append(text.encode(*axes, text="said"))
    pool = alt.Chart(pl.DataFrame({"depth": [1.0]})).mark_rule(aria=False, strokeDash=[4, 3], color="#777777")
    zero = alt.Chart(pl.DataFrame({"gain": [0.0]})).mark_rule(aria=False, color="#777777")
    return [*layers, pool.encode(axes[0]), zero.encode(axes[1])]


def _worlds(found: pl.DataFrame, axes: Axes) -> alt.Chart:
    corpora, widths = (found[name].unique(maintain_order=True).to_list() for name in ("items", "width"))
    colours = alt.Scale(domain=corpora, range=list(_COLOURS[: len(corpora)]))
    shapes = alt.Scale(domain=widths, range=["circle", "square"][: len(widths)])
    drawn: alt.Chart = (
        alt.Chart(found)
        .mark_point(aria=False, size=55, opacity=1, strokeWidth=1.5)
        .encode(
            *axes,
            alt.Stroke("items:N", title="items", scale=colours),
            alt.Fill("items:N", title="items", scale=colours),
            alt.Shape("width:N", title="width", scale=shapes).legend(
                symbolFillColor="black", symbolStrokeColor="black"
            ),
            alt.FillOpacity("filled:Q", scale=alt.Scale(domain=[0, 1], range=[0, 1]), legend=None),
        )
    )
    return drawn


def _sets(sets: Sequence[RealSet], axes: Axes) -> list[alt.Chart]:
    """Return the real sets with names at the ends of lines that do not cross: the deeper a set, the higher its name."""
    if not sets:
        return []
    ordered = sorted(sets, key=lambda one: one.depth)
    step = (_LABELS_TO - _LABELS_FROM) / max(len(ordered) - 1, 1)
    rows = pl.DataFrame(
        [
            {
                "depth": one.depth,
                "gain": one.served["mean"],
                "low": one.served["low"],
                "high": one.served["high"],
                "name": one.name,
                "label": _LABELS_FROM + step * place,
            }
            for place, one in enumerate(ordered)
        ]
    )
    base, named = alt.Chart(rows), axes[1].copy(deep=False)
    named.shorthand = "label:Q"
    return [
        base.mark_rule(aria=False, color="#999999", strokeWidth=0.8).encode(*axes, y2="label:Q"),
        base.mark_rule(aria=False, color="black", strokeWidth=2).encode(axes[0], alt.Y("low:Q"), y2="high:Q"),
        base.mark_point(aria=False, filled=True, shape="diamond", size=80, color="black", opacity=1).encode(*axes),
        base.mark_text(aria=False, align="right", dx=-3, fontSize=12, color=_TEXT).encode(axes[0], named, text="name"),
    ]
