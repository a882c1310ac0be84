"""The two kinds of charts of all reports: intervals one below the other, and lines."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt
import polars as pl

Chart = alt.Chart | alt.LayerChart | alt.ConcatChart
PLOT_WIDTH = 300  # pixels without labels; a chart grows and shrinks with its column of the page
GREY = "#8a8f98"
# Distinguishable with colour blindness, on white and on black (Okabe and Ito); beyond seven the shapes differ.
PALETTE = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", GREY)
SHAPES = ("circle", "diamond", "square", "triangle-up", "cross", "triangle-down")
DASHES = ([1, 0], [6, 2], [2, 2], [8, 3, 2, 3])


class Look(NamedTuple):
    """Colour and shape of a group of marks."""

    colour: str
    shape: str


Looks = Mapping[str, Look]
VERDICT_LOOKS: Looks = {
    "better": Look("#1a8a4a", "triangle-up"),
    "level": Look(GREY, "circle"),
    "worse": Look("#c4392f", "triangle-down"),
}


def distinct_looks(names: Iterable[str]) -> Looks:
    """Return a look for each name, so that it has the same one in all charts of a page."""
    return {
        name: Look(PALETTE[place % len(PALETTE)], SHAPES[place % len(SHAPES)])
        for place, name in enumerate(dict.fromkeys(names))
    }


def interval_chart(
    rows: Sequence[Mapping[str, Any]], axis: str, looks: Looks, *, number_format: str = "+.3~f", wide: bool = False
) -> alt.LayerChart | None:
    """Return differences with their intervals, one below the other, and a line at zero; None without rows.

    Rows have name, group, mean, low and high; those of one name stand together, and a bound of None is not drawn.
    ``wide`` draws a second, thinner interval, wide_low to wide_high.
    """
    if not rows:
        return None
    names = list(dict.fromkeys(str(row["name"]) for row in rows))
    groups = [name for name in looks if any(row["group"] == name for row in rows)]
    keys = ("name", "group", "mean", "low", "high", *(("wide_low", "wide_high") if wide else ()))
    frame = pl.DataFrame([{key: row[key] for key in keys} for row in rows], infer_schema_length=None)
    colours, shapes = ([getattr(looks[name], key) for name in groups] for key in ("colour", "shape"))
    legend = alt.Legend(columns=4, title=None)
    base = alt.Chart(frame).encode(
        y=alt.Y("name:N", sort=names, title=None).axis(labelLimit=300, minExtent=7 * max(map(len, names))),
        color=alt.Color("group:N", sort=groups).scale(domain=groups, range=colours).legend(legend),
    )
    grouped = len(names) < len(rows)
    if grouped:
        base = base.encode(yOffset=alt.YOffset("group:N", sort=groups))
    zero = alt.Chart(pl.DataFrame({"zero": [0.0]})).mark_rule(color=GREY, strokeDash=[3, 3]).encode(x="zero:Q")
    layers = [zero]
    for low, high, stroke in (*((("wide_low", "wide_high", 1),) if wide else ()), ("low", "high", 4 if wide else 2)):
        x = alt.X(f"{low}:Q", title=axis).axis(tickCount=4, format=number_format)
        layers.append(base.mark_rule(strokeWidth=stroke).encode(x=x, x2=f"{high}:Q"))
    marks = alt.Shape("group:N", sort=groups).scale(domain=groups, range=shapes).legend(legend)
    layers.append(base.mark_point(filled=True, size=50 if grouped else 80, opacity=1).encode(x="mean:Q", shape=marks))
    return alt.LayerChart(layer=layers).properties(width=PLOT_WIDTH, height=alt.Step(13 if grouped else 22))


def line_chart(rows: Sequence[Mapping[str, Any]], x: str, y: str, titles: tuple[str, str]) -> alt.LayerChart:
    """Return a line for each ``group`` of the rows, over whole numbers, with the titles of both axes."""
    groups = list(dict.fromkeys(str(row["group"]) for row in rows))
    dashes = [DASHES[place % len(DASHES)] for place in range(len(groups))]
    colours = [look.colour for look in distinct_looks(groups).values()]
    places = sorted({row[x] for row in rows})
    ticks = places[:: max(1, len(places) // 8)]
    base = alt.Chart(pl.DataFrame(rows)).encode(
        x=alt.X(f"{x}:Q", title=titles[0]).axis(values=ticks, format="d", grid=False),
        y=alt.Y(f"{y}:Q", title=titles[1]).scale(zero=False),
        color=alt.Color("group:N", sort=groups, title=None).scale(domain=groups, range=colours),
        strokeDash=alt.StrokeDash("group:N", sort=groups, title=None).scale(domain=groups, range=dashes),
    )
    chart: alt.LayerChart = base.mark_line(strokeWidth=2) + base.mark_point(filled=True, size=30)
    return chart.properties(width=PLOT_WIDTH, height=200)
