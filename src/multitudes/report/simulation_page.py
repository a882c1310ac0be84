"""The figures of an experiment in a simulated world: pure functions from its record to a chart.

An experiment in a simulated world as one HTML file: its limits first, then what moved, for whom, and from where.
"""

from html import escape
from pathlib import Path

from multitudes.atomic import write_text
from multitudes.errors import missing_extra
from multitudes.experiments.summary import format_lift, format_lift_interval
from multitudes.report.html_elements import PLOT_WIDTH, Chart, forest_plot, html_document, svg
from multitudes.report.simulation_result import ALL_USERS, ArmLift, SimulationResult

try:
    import altair as alt
except ImportError:
    raise missing_extra("altair", "report") from None

_VERDICT_SHAPES = {"better": "diamond", "not shown": "circle", "worse": "square"}


def lifts_by_arm_chart(of: SimulationResult, metric: str) -> alt.LayerChart | None:
    """Show what each arm moved of one metric."""
    return _lift_chart([(one.arm, one) for one in of.lifts_of(metric)])


def lifts_by_cohort_chart(
    of: SimulationResult, metric: str, arm: str, cohorts: tuple[str, ...]
) -> alt.LayerChart | None:
    """Show what one arm moved of one metric, for whom."""
    return _lift_chart(
        [(cohort, one) for cohort in (ALL_USERS, *cohorts) for one in of.lifts_of(metric, cohort) if one.arm == arm]
    )


def saves_by_day_chart(of: SimulationResult) -> alt.Chart:
    """Show the saves of a user on each day of the test, by arm."""
    chart: alt.Chart = (
        alt.Chart(of.by_day)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("day:Q", title="day of the test").axis(tickMinStep=1, format="d"),
            y=alt.Y("feed_saves:Q", title="saves in the feed, a user").scale(zero=False),
            color=alt.Color("arm:N", title=None, sort=list(of.arms)),
        )
        .properties(width=2 * PLOT_WIDTH, height=220)
    )
    return chart


def _lift_chart(named: list[tuple[str, ArmLift]]) -> alt.LayerChart | None:
    rows = [
        {"name": name, "lift": 100 * one.lift, "low": 100 * one.low, "high": 100 * one.high, "verdict": one.verdict}
        for name, one in named
        if one.lift is not None and one.low is not None and one.high is not None
    ]
    return forest_plot(
        rows, _VERDICT_SHAPES, [("low", "high", 3)], alt.X("low:Q", title="lift, %").axis(format="+.3~f")
    )


_METRIC_TITLES = {  # metric → what a person calls it, in the order of the page
    "feed_saves": "Saves in the feed",
    "saves": "Saves anywhere",
    "saves/active": "Saves anywhere, of an active user",
    "adopted_topics": "Adopted topics",
    "topics_served/visits": "Topics shown at a visit",
    "visits": "Visits",
    "hide": "Hides",
}
_LIMITS = (
    "A world that was made up: users who like what they like by its rules. It says whether a method finds what is there"
    " to be found, not what it would move for you. The ranker sees what users want, through noise; yours does not."
)
_SHARES_NOTE = (
    "Catalogue: of the items, those that anybody was shown. Top 1 %: of what was shown, the hundredth shown most."
    " Tastes: how much of what a user likes, by weight, a visit touched. Degraded: answers that were less than whole."
    " Candidates, shown, saves: from which source. Overlap: explicit candidates that an implicit interest had too."
)


def write_simulation_page(of: SimulationResult, out: Path) -> None:
    """Write the page; it appears whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, simulation_page(of))


def simulation_page(of: SimulationResult) -> str:
    """Return the page; every number in it comes from the record."""
    shown = {metric: title for metric, title in _METRIC_TITLES.items() if of.lifts_of(metric)}
    head = (
        f"<h1>{escape(of.name)}</h1>\n<p class=soft>{escape(describe_simulation(of))}</p>\n<p>{escape(_LIMITS)}</p>\n"
    )
    said = "".join(f"<p class=headline>{escape(line)}</p>\n" for line in lift_sentences(of))
    body = f"<h2>Against {escape(of.control)}</h2>\n" + _figure_row(
        [(lifts_by_arm_chart(of, m), t) for m, t in shown.items()]
    )
    body += _lift_table([one for metric in shown for one in of.lifts_of(metric)], shown)
    cohorts = tuple(dict.fromkeys(one.cohort for one in of.lifts if one.cohort != ALL_USERS))
    body += "<h2>Saves in the feed, for whom</h2>\n" + _figure_row(
        [(lifts_by_cohort_chart(of, "feed_saves", arm, cohorts), arm) for arm in of.arms if arm != of.control]
    )
    body += f"<h2>Day by day</h2>\n<figure>{svg(saves_by_day_chart(of))}</figure>\n"
    body += f"<h2>What was shown</h2>\n<p class=soft>{escape(_SHARES_NOTE)}</p>\n" + _spread_table(of)
    return html_document(of.name, head + said + body)


def describe_simulation(of: SimulationResult) -> str:
    """Return what was done, in a line."""
    worlds = f"{len(of.seeds)} worlds" if len(of.seeds) > 1 else "one world"
    held = "seeds" if len(of.seeds) > 1 else "users of that one world and training"
    return (
        f"{worlds} of {of.users:,} users and {of.items:,} items, {of.days} days; every arm has all users, who react"
        f" alike to what is alike; intervals of 95 % over {held}"
    )


def lift_sentences(of: SimulationResult) -> list[str]:
    """Return what moved of the first metric, an arm a line."""
    return [
        f"{one.arm}: saves in the feed {format_lift(one.lift)} {format_lift_interval(one.low, one.high)}"
        + ("" if one.significant else ", not shown to move")
        for one in of.lifts_of("feed_saves")
    ]


def _figure_row(charts: list[tuple[Chart | None, str]]) -> str:
    drawn = "".join(f"<figure><h3>{escape(t)}</h3>{svg(chart)}</figure>\n" for chart, t in charts if chart is not None)
    return f"<div class=row>{drawn}</div>\n"


def _lift_table(rows: list[ArmLift], titles: dict[str, str]) -> str:
    head = "".join(f"<th class=number>{name}</th>" for name in ("control", "arm", "lift, 95 %"))
    body = "".join(
        f"<tr><td>{escape(titles[one.metric])}</td><td>{escape(one.arm)}</td><td class=number>{one.control:.4g}</td>"
        f"<td class=number>{one.treatment:.4g}</td><td class=number><span{_verdict_class(one)}>{format_lift(one.lift)}"
        f" {format_lift_interval(one.low, one.high)}</span></td></tr>"
        for one in rows
    )
    return f'<div class="scroll"><table><tr><th>metric</th><th>arm</th>{head}</tr>{body}</table></div>\n'


def _verdict_class(one: ArmLift) -> str:
    return {"better": " class=better", "worse": " class=worse"}.get(one.verdict, "")


def _spread_table(of: SimulationResult) -> str:
    table = of.spread.pivot(on="arm", index="measure", values="value", maintain_order=True)
    head = "".join(f"<th class=number>{escape(arm)}</th>" for arm in of.arms)
    body = ""
    for row in table.iter_rows(named=True):
        cells = "".join(f"<td class=number>{_format_share(row.get(arm))}</td>" for arm in of.arms)
        body += f"<tr><td>{escape(row['measure'])}</td>{cells}</tr>"
    return f'<div class="scroll"><table><tr><th>share</th>{head}</tr>{body}</table></div>\n'


def _format_share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
