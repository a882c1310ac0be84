"""Lifts with their intervals, one below the other: the figure of every experiment, real or simulated."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from multitudes.errors import missing_extra

try:
    import altair as alt
except ImportError:
    raise missing_extra("altair", "report") from None

WIDTH = 300  # of a plot without its labels: two stand side by side on a page
_SOFT = "#8a8f98"
COLOURS = ("#1a8a4a", _SOFT, "#c4392f")  # of the verdicts: for the better, undecided, for the worse


def forest(
    rows: Sequence[Mapping[str, Any]], shapes: Mapping[str, str], bars: Sequence[tuple[str, str, int]], x: alt.X
) -> alt.LayerChart | None:
    """Show rows of name, lift, verdict and the ends of intervals, all in percent; None where there are none.

    Args:
        rows: in the order of the figure.
        shapes: of each verdict's mark, in the order of ``COLOURS``.
        bars: low end, high end and width of the line of each interval; the first is drawn first, and ``x`` is its axis.
        x: the axis, of the low end of the first interval.
    """
    if not rows:
        return None
    order = [str(row["name"]) for row in rows]
    looks = alt.Color("verdict:N", title=None).scale(domain=list(shapes), range=list(COLOURS))
    names = alt.Y("name:N", sort=order, title=None).axis(labelLimit=300, minExtent=7 * max(map(len, order)))
    base = alt.Chart(pl.DataFrame(rows, infer_schema_length=None)).encode(y=names, color=looks)
    layers = [zero("x")]
    for number, (low, high, width) in enumerate(bars):
        ends = {"x": x if number == 0 else f"{low}:Q", "x2": f"{high}:Q"}
        layers.append(base.mark_rule(strokeWidth=width).encode(**ends))
    marks = alt.Shape("verdict:N", title=None).scale(domain=list(shapes), range=list(shapes.values()))
    layers.append(base.mark_point(filled=True, size=90, opacity=1).encode(x="lift:Q", shape=marks))
    drawn = alt.LayerChart(layer=layers)
    return drawn.properties(width=WIDTH, height=alt.Step(24))


def zero(channel: str) -> alt.Chart:
    """Return the line at which nothing moves."""
    base = alt.Chart(pl.DataFrame({"zero": [0.0]}))
    drawn: alt.Chart = base.mark_rule(color=_SOFT, strokeDash=[3, 3]).encode(**{channel: "zero:Q"})
    return drawn
