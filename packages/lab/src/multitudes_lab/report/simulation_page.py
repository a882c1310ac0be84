"""The HTML report of a simulated experiment: its limits, then lifts, cohorts, days and what the arms showed."""

from collections.abc import Iterator
from pathlib import Path

from multitudes.report.charts import VERDICT_LOOKS, Chart, interval_chart, line_chart
from multitudes.report.document import Block, Cell, Figure, Heading, Table, Text
from multitudes.report.html_elements import write_html
from multitudes_lab.experiments.summary import format_lift, format_lift_interval
from multitudes_lab.simulation.lifts import ALL_USERS, ArmLift
from multitudes_lab.simulation.results import SimulationResult

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
    write_html(out, result.name, _blocks(result))


def _blocks(result: SimulationResult) -> Iterator[Block]:
    yield Heading(result.name, 1)
    yield Text(describe_simulation(result), "soft")
    yield Text(_LIMITS)
    yield from (Text(line, "headline") for line in lift_sentences(result))
    yield Heading(f"Against {result.control}")
    titles = {metric: title for metric, title in _METRIC_TITLES.items() if result.lifts_of(metric)}
    for metric, title in titles.items():
        yield Figure(_lift_chart([(one.arm, one) for one in result.lifts_of(metric)]), title)
    rows: list[list[Cell | str]] = []
    for one in (one for metric in titles for one in result.lifts_of(metric)):
        lift = Cell(_format_lift(one), one.verdict if one.significant else "")
        rows.append([titles[one.metric], one.arm, f"{one.control:.4g}", f"{one.treatment:.4g}", lift])
    yield Table("", ["metric", "arm", "control", "its mean", "lift, 95 %"], rows, words=["arm"])
    yield Heading("Saves in the feed by cohort")
    cohorts = dict.fromkeys((ALL_USERS, *(one.cohort for one in result.lifts)))
    for arm in result.arms:
        lifts = [(name, one) for name in cohorts for one in result.lifts_of("feed_saves", name) if one.arm == arm]
        yield Figure(_lift_chart(lifts), arm)
    yield Heading("Day by day")
    days = result.by_day.rename({"arm": "group"}).to_dicts()
    chart = line_chart(days, "day", "feed_saves", ("day of the test", "saves in the feed per user"))
    yield Figure(chart, "Saves in the feed per user, by day and arm.")
    yield Heading("What was shown")
    yield Text(_SHARES_NOTE, "soft")
    spread = result.spread.pivot(on="arm", index="measure", values="value", maintain_order=True)
    shares = [
        [row["measure"], *("–" if row[arm] is None else f"{100 * row[arm]:.1f} %" for arm in result.arms)]
        for row in spread.iter_rows(named=True)
    ]
    yield Table("", ["share", *result.arms], shares)


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
        f"{one.arm}: saves in the feed {_format_lift(one)}" + ("" if one.significant else ", not significant")
        for one in result.lifts_of("feed_saves")
    ]


def _format_lift(one: ArmLift) -> str:
    return f"{format_lift(one.lift)} {format_lift_interval(one.low, one.high)}"


def _lift_chart(lifts: list[tuple[str, ArmLift]]) -> Chart | None:
    rows = [
        {"name": name, "group": one.verdict if one.significant else "level"}
        | {"mean": 100 * one.lift, "low": 100 * one.low, "high": 100 * one.high}
        for name, one in lifts
        if one.lift is not None and one.low is not None and one.high is not None
    ]
    return interval_chart(rows, "lift, %", VERDICT_LOOKS)
