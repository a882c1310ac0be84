"""One HTML file around a body: its styles within it, no script, no outside request.

Charts as SVG inside a page: no script, no outside request, sharp in print.

Lifts with their intervals, one below the other: the figure of every experiment, real or simulated.
"""

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

import polars as pl

from multitudes.errors import missing_extra


def html_document(title: str, body: str, *styles: str) -> str:
    """Return the page.

    Args:
        title: as text.
        body: as HTML.
        styles: more files of this room, after page.css.
    """
    room = files("multitudes.report")
    style = "".join(room.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", *styles))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"{body}\n</main>\n</body>\n</html>\n"
    )


try:
    import altair as alt
    import vl_convert
except ImportError as error:
    raise missing_extra(error.name or "altair", "report") from None

Chart = alt.Chart | alt.LayerChart | alt.ConcatChart

# One look for all charts.
CHART_CONFIG = {
    "font": "Helvetica, Arial, sans-serif",
    "background": "white",
    "padding": {"left": 8, "right": 8, "top": 4, "bottom": 4},
    "view": {"stroke": None},
    "axis": {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "gridColor": "#e6e6e6"},
    "axisX": {"labelFlush": False, "labelOverlap": True, "tickCount": 6},
    "legend": {
        "columnPadding": 22,
        "orient": "top",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "symbolOpacity": 1,
    },
}


def svg(chart: Chart) -> str:
    """Return the chart as an ``<svg>`` element that scales with the page."""
    return _make_responsive(str(vl_convert.vegalite_to_svg(_vega_lite_json(chart))))


def _vega_lite_json(chart: Chart) -> str:
    return json.dumps(chart.to_dict() | {"config": CHART_CONFIG})


def _make_responsive(element: str) -> str:
    """Let CSS decide the width: the drawn size stays as the widest."""
    return element.replace("<svg ", '<svg role="img" style="max-width:100%;height:auto" ', 1)


try:
    import altair as alt
except ImportError:
    raise missing_extra("altair", "report") from None

PLOT_WIDTH = 300  # of a plot without its labels: two stand side by side on a page
_GREY = "#8a8f98"
VERDICT_COLOURS = ("#1a8a4a", _GREY, "#c4392f")  # of the verdicts: for the better, undecided, for the worse


def forest_plot(
    rows: Sequence[Mapping[str, Any]], shapes: Mapping[str, str], bars: Sequence[tuple[str, str, int]], x: alt.X
) -> alt.LayerChart | None:
    """Show rows of name, lift, verdict and the ends of intervals, all in percent; None where there are none.

    Args:
        rows: in the order of the figure.
        shapes: of each verdict's mark, in the order of ``VERDICT_COLOURS``.
        bars: low end, high end and width of the line of each interval; the first is drawn first, and ``x`` is its axis.
        x: the axis, of the low end of the first interval.
    """
    if not rows:
        return None
    order = [str(row["name"]) for row in rows]
    looks = alt.Color("verdict:N", title=None).scale(domain=list(shapes), range=list(VERDICT_COLOURS))
    names = alt.Y("name:N", sort=order, title=None).axis(labelLimit=300, minExtent=7 * max(map(len, order)))
    base = alt.Chart(pl.DataFrame(rows, infer_schema_length=None)).encode(y=names, color=looks)
    layers = [zero_line("x")]
    for number, (low, high, width) in enumerate(bars):
        ends = {"x": x if number == 0 else f"{low}:Q", "x2": f"{high}:Q"}
        layers.append(base.mark_rule(strokeWidth=width).encode(**ends))
    marks = alt.Shape("verdict:N", title=None).scale(domain=list(shapes), range=list(shapes.values()))
    layers.append(base.mark_point(filled=True, size=90, opacity=1).encode(x="lift:Q", shape=marks))
    drawn = alt.LayerChart(layer=layers)
    return drawn.properties(width=PLOT_WIDTH, height=alt.Step(24))


def zero_line(channel: str) -> alt.Chart:
    """Return the line at which nothing moves."""
    base = alt.Chart(pl.DataFrame({"zero": [0.0]}))
    drawn: alt.Chart = base.mark_rule(color=_GREY, strokeDash=[3, 3]).encode(**{channel: "zero:Q"})
    return drawn
