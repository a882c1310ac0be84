"""The figures of a readout: pure functions from it to a chart."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from multitudes.errors import missing_extra
from multitudes.readout.judge import Comparison
from multitudes.readout.readout import Readout
from multitudes.report.forest import WIDTH, forest, zero

try:
    import altair as alt
except ImportError:
    raise missing_extra("altair", "report") from None

_SHAPES = {"up": "triangle-up", "not shown": "circle", "down": "triangle-down"}


def lifts(compared: Mapping[str, Comparison]) -> alt.LayerChart | None:
    """Show lifts by name: the thick line is for one planned look, the thin one for any number of looks."""
    rows = [row for name, found in compared.items() if (row := _row(found) | {"name": name})["lift"] is not None]
    bars = [("always_low", "always_high", 1), ("low", "high", 4)]
    return forest(rows, _SHAPES, bars, alt.X("always_low:Q", title="lift, %").axis(tickCount=5, format="+.3~f"))


def by_days(of: Readout, metric: str, arm: str) -> alt.LayerChart | None:
    """Show the lift of one metric and arm by days since the exposure; None where there are fewer than two."""
    rows = [
        {"days": str(first) if end == first + 1 else f"{first}–{end - 1}"} | _row(metrics[metric][arm])
        for (first, end), metrics in of.days.items()
        if metrics[metric][arm].lift is not None
    ]
    if len(rows) < 2:
        return None
    days = alt.X("days:N", sort=[row["days"] for row in rows], title="days since the exposure").axis(labelAngle=0)
    base = alt.Chart(pl.DataFrame(rows, infer_schema_length=None)).encode(x=days, color=alt.value("#2f5d8a"))
    bars = base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", title=f"lift of {metric}, %"), y2="high:Q")
    points = base.mark_point(filled=True, size=60, opacity=1).encode(y="lift:Q")
    drawn: alt.LayerChart = zero("y") + bars + points
    return drawn.properties(width=WIDTH, height=160)


def _row(of: Comparison) -> dict[str, Any]:
    """Return a comparison in percent."""
    ends = {"lift": of.lift, "low": of.low, "high": of.high}
    ends |= {"always_low": of.sequential.low, "always_high": of.sequential.high}
    verdict = "not shown" if not of.significant else "up" if (of.lift or 0) > 0 else "down"
    return {name: None if end is None else 100 * end for name, end in ends.items()} | {"verdict": verdict}
