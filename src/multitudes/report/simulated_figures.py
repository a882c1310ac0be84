"""The figures of an experiment in a simulated world: pure functions from its record to a chart."""

import polars as pl

from multitudes.errors import missing_extra
from multitudes.report.simulated_record import EVERYBODY, Moved, Simulated

try:
    import altair as alt
except ImportError:
    raise missing_extra("altair", "report") from None

WIDTH = 300
_LOOKS = {"better": "#1a8a4a", "not shown": "#8a8f98", "worse": "#c4392f"}
_SHAPES = ["diamond", "circle", "square"]


def by_arm(of: Simulated, metric: str) -> alt.LayerChart | None:
    """Show what each arm moved of one metric."""
    return _lifts([(one.arm, one) for one in of.of(metric)])


def by_cohort(of: Simulated, metric: str, arm: str, cohorts: tuple[str, ...]) -> alt.LayerChart | None:
    """Show what one arm moved of one metric, for whom."""
    return _lifts(
        [(cohort, one) for cohort in (EVERYBODY, *cohorts) for one in of.of(metric, cohort) if one.arm == arm]
    )


def days(of: Simulated) -> alt.Chart:
    """Show the saves of a user on each day of the test, by arm."""
    chart: alt.Chart = (
        alt.Chart(of.by_day)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("day:Q", title="day of the test").axis(tickMinStep=1, format="d"),
            y=alt.Y("feed_saves:Q", title="saves in the feed, a user").scale(zero=False),
            color=alt.Color("arm:N", title=None, sort=list(of.arms)),
        )
        .properties(width=2 * WIDTH, height=220)
    )
    return chart


def _lifts(named: list[tuple[str, Moved]]) -> alt.LayerChart | None:
    rows = [
        {"name": name, "lift": 100 * one.lift, "low": 100 * one.low, "high": 100 * one.high, "verdict": one.verdict}
        for name, one in named
        if one.lift is not None and one.low is not None and one.high is not None
    ]
    if not rows:
        return None
    order = [str(row["name"]) for row in rows]
    names = alt.Y("name:N", sort=order, title=None).axis(labelLimit=300, minExtent=7 * max(map(len, order)))
    looks = alt.Color("verdict:N", title=None).scale(domain=list(_LOOKS), range=list(_LOOKS.values()))
    base = alt.Chart(pl.DataFrame(rows)).encode(y=names, color=looks)
    bars = base.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", title="lift, %").axis(format="+.3~f"), x2="high:Q")
    shapes = alt.Shape("verdict:N", title=None).scale(domain=list(_LOOKS), range=_SHAPES)
    points = base.mark_point(filled=True, size=90, opacity=1).encode(x="lift:Q", shape=shapes)
    zero = alt.Chart(pl.DataFrame({"zero": [0.0]})).mark_rule(color="#8a8f98", strokeDash=[3, 3]).encode(x="zero:Q")
    drawn: alt.LayerChart = zero + bars + points
    return drawn.properties(width=WIDTH, height=alt.Step(24))
