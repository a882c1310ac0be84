"""Charts as SVG inside a page: no script, no outside request, sharp in print."""

import json

from multitudes.errors import missing_extra

try:
    import altair as alt
    import vl_convert
except ImportError as error:
    raise missing_extra(error.name or "altair", "report") from None

Chart = alt.Chart | alt.LayerChart | alt.ConcatChart

# One look for all charts.
CONFIG = {
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
    return _scaling(str(vl_convert.vegalite_to_svg(_spec(chart))))


def _spec(chart: Chart) -> str:
    return json.dumps(chart.to_dict() | {"config": CONFIG})


def _scaling(element: str) -> str:
    """Let CSS decide the width: the drawn size stays as the widest."""
    return element.replace("<svg ", '<svg role="img" style="max-width:100%;height:auto" ', 1)
