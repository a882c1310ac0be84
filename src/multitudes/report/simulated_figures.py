"""The figures of an experiment in a simulated world: pure functions from its record to a chart."""

from multitudes.errors import missing_extra
from multitudes.report.forest import WIDTH, forest
from multitudes.report.simulated_record import EVERYBODY, Moved, Simulated

try:
    import altair as alt
except ImportError:
    raise missing_extra("altair", "report") from None

_SHAPES = {"better": "diamond", "not shown": "circle", "worse": "square"}


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
    return forest(rows, _SHAPES, [("low", "high", 3)], alt.X("low:Q", title="lift, %").axis(format="+.3~f"))
