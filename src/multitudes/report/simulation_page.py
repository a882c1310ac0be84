"""The HTML report of a simulated experiment: its limits, then lifts, cohorts, days and what the arms showed."""

from html import escape
from pathlib import Path

from multitudes.atomic import write_text
from multitudes.errors import missing_extra
from multitudes.experiments.summary import format_lift, format_lift_interval
from multitudes.report.html_elements import PLOT_WIDTH, Chart, figure, forest_plot, html_document, svg, table_element
from multitudes.report.simulation_result import ALL_USERS, ArmLift, SimulationResult

try:
    import altair as alt
except ImportError:
    raise missing_extra("altair", "report") from None

_VERDICT_SHAPES = {"better": "diamond", "not significant": "circle", "worse": "square"}
_METRIC_TITLES = {  # metric → title, in the order of the page
    "feed_saves": "Saves in the feed",
    "saves": "Saves anywhere",
    "saves/active": "Saves anywhere, of an active user",
    "adopted_topics": "Adopted topics",
    "topics_served/visits": "Topics shown at a visit",
    "visits": "Visits",
    "hide": "Hides",
}
_LIMITS = (
    "This world is simulated: its rules define the users' tastes. It shows whether a method finds tastes that exist,"
    " not the effect on your users. The ranker observes the tastes with noise; a real one does not observe them."
)
_SHARES_NOTE = (
    "Catalogue: share of items shown to any user. Top 1 %: share of impressions that the most shown hundredth of the"
    " items has. Tastes: share of a user's tastes, by weight, that a visit covers. Degraded: share of degraded"
    " responses. Candidates, shown, saves: by source. Overlap: explicit candidates that an implicit interest also"
    " found."
)


def write_simulation_page(result: SimulationResult, out: Path) -> None:
    """Write the report of a simulated experiment atomically to ``out``."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, simulation_page(result))


def simulation_page(result: SimulationResult) -> str:
    """Return the page. All its figures come from the result."""
    titles = {metric: title for metric, title in _METRIC_TITLES.items() if result.lifts_of(metric)}
    setup = escape(describe_simulation(result))
    head = f"<h1>{escape(result.name)}</h1>\n<p class=soft>{setup}</p>\n<p>{escape(_LIMITS)}</p>\n"
    headlines = "".join(f"<p class=headline>{escape(line)}</p>\n" for line in lift_sentences(result))
    body = f"<h2>Against {escape(result.control)}</h2>\n" + _figure_row(
        [(_lift_chart([(one.arm, one) for one in result.lifts_of(m)]), t) for m, t in titles.items()]
    )
    body += _lift_table([one for metric in titles for one in result.lifts_of(metric)], titles)
    cohorts = tuple(dict.fromkeys(one.cohort for one in result.lifts if one.cohort != ALL_USERS))
    body += "<h2>Saves in the feed by cohort</h2>\n" + _figure_row(
        [
            (lifts_by_cohort_chart(result, "feed_saves", arm, cohorts), arm)
            for arm in result.arms
            if arm != result.control
        ]
    )
    body += f"<h2>Day by day</h2>\n{figure(saves_by_day_chart(result), 'Saves in the feed per user, by day and arm.')}"
    body += f"<h2>What was shown</h2>\n<p class=soft>{escape(_SHARES_NOTE)}</p>\n" + _spread_table(result)
    return html_document(result.name, head + headlines + body)


def describe_simulation(result: SimulationResult) -> str:
    """Return the setup of the simulation in one line."""
    worlds = f"{len(result.seeds)} worlds" if len(result.seeds) > 1 else "one world"
    coverage = "seeds" if len(result.seeds) > 1 else "users of that one world and training"
    return (
        f"{worlds} of {result.users:,} users and {result.items:,} items, {result.days} days;"
        " every arm has all users, who react in the same way to the same list;"
        f" intervals of 95 % over {coverage}"
    )


def lift_sentences(result: SimulationResult) -> list[str]:
    """Return the lift of the first metric, one line per arm."""
    return [
        f"{one.arm}: saves in the feed {format_lift(one.lift)} {format_lift_interval(one.low, one.high)}"
        + ("" if one.significant else ", not significant")
        for one in result.lifts_of("feed_saves")
    ]


def _figure_row(charts: list[tuple[Chart | None, str]]) -> str:
    figures = "".join(
        f"<figure><h3>{escape(t)}</h3>{svg(chart, f'Lift of {t}')}</figure>\n"
        for chart, t in charts
        if chart is not None
    )
    return f"<div class=row>{figures}</div>\n"


def _lift_table(rows: list[ArmLift], titles: dict[str, str]) -> str:
    head = "".join(f"<th class=number>{name}</th>" for name in ("control", "arm", "lift, 95 %"))
    body = "".join(
        f"<tr><td>{escape(titles[one.metric])}</td><td>{escape(one.arm)}</td><td class=number>{one.control:.4g}</td>"
        f"<td class=number>{one.treatment:.4g}</td><td class=number><span{_verdict_class(one)}>{format_lift(one.lift)}"
        f" {format_lift_interval(one.low, one.high)}</span></td></tr>"
        for one in rows
    )
    return table_element(f"<tr><th>metric</th><th>arm</th>{head}</tr>{body}", "Lift of each metric") + "\n"


def _verdict_class(one: ArmLift) -> str:
    return {"better": " class=better", "worse": " class=worse"}.get(one.verdict, "")


def _spread_table(result: SimulationResult) -> str:
    table = result.spread.pivot(on="arm", index="measure", values="value", maintain_order=True)
    head = "".join(f"<th class=number>{escape(arm)}</th>" for arm in result.arms)
    body = ""
    for row in table.iter_rows(named=True):
        cells = "".join(f"<td class=number>{_format_share(row.get(arm))}</td>" for arm in result.arms)
        body += f"<tr><td>{escape(row['measure'])}</td>{cells}</tr>"
    return table_element(f"<tr><th>share</th>{head}</tr>{body}", "What was shown") + "\n"


def _format_share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def lifts_by_cohort_chart(
    result: SimulationResult, metric: str, arm: str, cohorts: tuple[str, ...]
) -> alt.LayerChart | None:
    """Return the lift of one metric in one arm, for all users and each cohort."""
    return _lift_chart(
        [(cohort, one) for cohort in (ALL_USERS, *cohorts) for one in result.lifts_of(metric, cohort) if one.arm == arm]
    )


def saves_by_day_chart(result: SimulationResult) -> alt.Chart:
    """Return the saves per user on each day of the test, by arm."""
    chart: alt.Chart = (
        alt.Chart(result.by_day)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("day:Q", title="day of the test").axis(tickMinStep=1, format="d"),
            y=alt.Y("feed_saves:Q", title="saves in the feed per user").scale(zero=False),
            color=alt.Color("arm:N", title=None, sort=list(result.arms)),
        )
        .properties(width=2 * PLOT_WIDTH, height=220)
    )
    return chart


def _lift_chart(lifts: list[tuple[str, ArmLift]]) -> alt.LayerChart | None:
    rows = [
        {"name": name, "lift": 100 * one.lift, "low": 100 * one.low, "high": 100 * one.high, "verdict": one.verdict}
        for name, one in lifts
        if one.lift is not None and one.low is not None and one.high is not None
    ]
    return forest_plot(
        rows, _VERDICT_SHAPES, [("low", "high", 3)], alt.X("low:Q", title="lift, %").axis(format="+.3~f")
    )
