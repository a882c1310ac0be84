"""Elements that all HTML reports share: the document, charts as inline SVG, and the forest plot of lifts.

A report is one file without scripts or requests; its styles and charts are inline.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

import polars as pl

from multitudes.errors import missing_extra
from multitudes.interest_colours import STYLE
from multitudes.report.formatting import Estimate, excludes_zero, format_difference

try:
    import altair as alt
    import vl_convert
except ImportError as error:
    raise missing_extra(error.name or "altair", "report") from None

Chart = alt.Chart | alt.LayerChart | alt.ConcatChart

# The style of all charts, as Vega-Lite configuration.
CHART_CONFIG = {
    "font": "Helvetica, Arial, sans-serif",
    "background": "white",
    "padding": {"left": 8, "right": 8, "top": 4, "bottom": 4},
    "view": {"stroke": None},
    "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "gridColor": "#e6e6e6"},
    "axisX": {"labelFlush": False, "labelOverlap": True, "tickCount": 6},
    "legend": {
        "columnPadding": 22,
        "orient": "top",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "symbolOpacity": 1,
    },
}
PLOT_WIDTH = 300  # pixels without labels; a chart grows and shrinks with its column of the page
GREY = "#8a8f98"
VERDICT_COLOURS = ("#1a8a4a", GREY, "#c4392f")  # improvement, undecided, regression


def html_document(title: str, body: str, *styles: str) -> str:
    """Return a complete HTML page.

    Args:
        title: plain text.
        body: HTML.
        styles: names of style sheets of this package, in addition to page.css.
    """
    package = files("multitudes.report")
    style = STYLE + "".join(package.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", *styles))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"{body}\n</main>\n</body>\n</html>\n"
    )


def gain_cell(gain: Estimate) -> str:
    """Return a difference, coloured if its interval excludes zero: as better or as worse."""
    style = "" if not excludes_zero(gain) else " class=better" if (gain["mean"] or 0) > 0 else " class=worse"
    return f"<span{style}>{format_difference(gain)}</span>"


def figure(chart: Chart | None, caption: str = "") -> str:
    """Return a chart with its caption as a ``<figure>``; empty without a chart."""
    if chart is None:
        return ""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{svg(chart, caption)}{below}</figure>\n"


def figure_row(charts: Iterable[tuple[Chart | None, str]]) -> str:
    """Return charts with their captions side by side; empty without any chart."""
    figures = "".join(figure(chart, caption) for chart, caption in charts)
    return f'<div class="row">{figures}</div>' if figures else ""


def svg(chart: Chart, label: str = "") -> str:
    """Return the chart as an ``<svg>`` element that is as wide as its column.

    Args:
        chart: the chart.
        label: what it shows, for readers who do not see it; empty: a chart.
    """
    specification = json.dumps(chart.to_dict() | {"config": CHART_CONFIG})
    element = str(vl_convert.vegalite_to_svg(specification))
    return element.replace("<svg ", f'<svg role="img" aria-label="{escape(label or "chart")}" ', 1)


def table_element(rows: str, label: str, style: str = "") -> str:
    """Return a table that scrolls sideways if the page is narrower, by keyboard too.

    Args:
        rows: its ``<tr>`` elements.
        label: what it shows.
        style: its class; empty: none.
    """
    table = f'<table class="{style}">' if style else "<table>"
    return f'<div class="scroll" role="group" tabindex="0" aria-label="{escape(label)}">{table}{rows}</table></div>'


def forest_plot(
    rows: Sequence[Mapping[str, Any]], shapes: Mapping[str, str], bars: Sequence[tuple[str, str, int]], x: alt.X
) -> alt.LayerChart | None:
    """Return a forest plot: lifts with their intervals, one below the other; None without rows.

    Args:
        rows: name, lift, verdict and the ends of the intervals in percent, in the order of the plot.
        shapes: mark of each verdict, in the order of ``VERDICT_COLOURS``.
        bars: low end, high end and line width of each interval, drawn in this order.
        x: the axis, encoding the low end of the first interval.
    """
    if not rows:
        return None
    order = [str(row["name"]) for row in rows]
    colour = alt.Color("verdict:N", title=None).scale(domain=list(shapes), range=list(VERDICT_COLOURS))
    names = alt.Y("name:N", sort=order, title=None).axis(labelLimit=300, minExtent=7 * max(map(len, order)))
    base = alt.Chart(pl.DataFrame(rows, infer_schema_length=None)).encode(y=names, color=colour)
    layers = [zero_line("x")]
    for number, (low, high, width) in enumerate(bars):
        ends = {"x": x if number == 0 else f"{low}:Q", "x2": f"{high}:Q"}
        layers.append(base.mark_rule(strokeWidth=width).encode(**ends))
    marks = alt.Shape("verdict:N", title=None).scale(domain=list(shapes), range=list(shapes.values()))
    layers.append(base.mark_point(filled=True, size=90, opacity=1).encode(x="lift:Q", shape=marks))
    return alt.LayerChart(layer=layers).properties(width=PLOT_WIDTH, height=alt.Step(24))


def zero_line(channel: str) -> alt.Chart:
    """Return the dashed line at zero on the axis ``x`` or ``y``."""
    line: alt.Chart = (
        alt.Chart(pl.DataFrame({"zero": [0.0]})).mark_rule(color=GREY, strokeDash=[3, 3]).encode(**{channel: "zero:Q"})
    )
    return line
