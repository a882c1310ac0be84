"""An experiment in a simulated world as one HTML file: its limits first, then what moved, for whom, and from where."""

from html import escape
from pathlib import Path

from multitudes.disk import write_text
from multitudes.readout.verdict import interval, percent
from multitudes.report import simulated_figures as figures
from multitudes.report.document import document
from multitudes.report.simulated_record import EVERYBODY, Moved, Simulated
from multitudes.report.svg import Chart, svg

_HEADLINES = {  # metric → what a person calls it, in the order of the page
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
_SHARES = (
    "Catalogue: of the items, those that anybody was shown. Top 1 %: of what was shown, the hundredth shown most."
    " Tastes: how much of what a user likes, by weight, a visit touched. Degraded: answers that were less than whole."
    " Candidates, shown, saves: from which source. Overlap: explicit candidates that an implicit interest had too."
)


def write_simulated_report(of: Simulated, out: Path) -> None:
    """Write the page; it appears whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, simulated_page(of))


def simulated_page(of: Simulated) -> str:
    """Return the page; every number in it comes from the record."""
    shown = {metric: title for metric, title in _HEADLINES.items() if of.of(metric)}
    head = f"<h1>{escape(of.name)}</h1>\n<p class=soft>{escape(sentence(of))}</p>\n<p>{escape(_LIMITS)}</p>\n"
    said = "".join(f"<p class=headline>{escape(line)}</p>\n" for line in verdict(of))
    body = f"<h2>Against {escape(of.control)}</h2>\n" + _row([(figures.by_arm(of, m), t) for m, t in shown.items()])
    body += _table([one for metric in shown for one in of.of(metric)], shown)
    cohorts = tuple(dict.fromkeys(one.cohort for one in of.moved if one.cohort != EVERYBODY))
    body += "<h2>Saves in the feed, for whom</h2>\n" + _row(
        [(figures.by_cohort(of, "feed_saves", arm, cohorts), arm) for arm in of.arms if arm != of.control]
    )
    body += f"<h2>Day by day</h2>\n<figure>{svg(figures.days(of))}</figure>\n"
    body += f"<h2>What was shown</h2>\n<p class=soft>{escape(_SHARES)}</p>\n" + _spread(of)
    return document(of.name, head + said + body)


def sentence(of: Simulated) -> str:
    """Return what was done, in a line."""
    worlds = f"{len(of.seeds)} worlds" if len(of.seeds) > 1 else "one world"
    held = "seeds" if len(of.seeds) > 1 else "users of that one world and training"
    return (
        f"{worlds} of {of.users:,} users and {of.items:,} items, {of.days} days; every arm has all users, who react"
        f" alike to what is alike; intervals of 95 % over {held}"
    )


def verdict(of: Simulated) -> list[str]:
    """Return what moved of the first metric, an arm a line."""
    return [
        f"{one.arm}: saves in the feed {percent(one.lift)} {interval(one.low, one.high)}"
        + ("" if one.shown else ", not shown to move")
        for one in of.of("feed_saves")
    ]


def _row(charts: list[tuple[Chart | None, str]]) -> str:
    drawn = "".join(f"<figure><h3>{escape(t)}</h3>{svg(chart)}</figure>\n" for chart, t in charts if chart is not None)
    return f"<div class=row>{drawn}</div>\n"


def _table(rows: list[Moved], titles: dict[str, str]) -> str:
    head = "".join(f"<th class=number>{name}</th>" for name in ("control", "arm", "lift, 95 %"))
    body = "".join(
        f"<tr><td>{escape(titles[one.metric])}</td><td>{escape(one.arm)}</td><td class=number>{one.control:.4g}</td>"
        f"<td class=number>{one.treatment:.4g}</td><td class=number><span{_look(one)}>{percent(one.lift)}"
        f" {interval(one.low, one.high)}</span></td></tr>"
        for one in rows
    )
    return f'<div class="scroll"><table><tr><th>metric</th><th>arm</th>{head}</tr>{body}</table></div>\n'


def _look(one: Moved) -> str:
    return {"better": " class=better", "worse": " class=worse"}.get(one.verdict, "")


def _spread(of: Simulated) -> str:
    table = of.spread.pivot(on="arm", index="measure", values="value", maintain_order=True)
    head = "".join(f"<th class=number>{escape(arm)}</th>" for arm in of.arms)
    body = ""
    for row in table.iter_rows(named=True):
        cells = "".join(f"<td class=number>{_share(row.get(arm))}</td>" for arm in of.arms)
        body += f"<tr><td>{escape(row['measure'])}</td>{cells}</tr>"
    return f'<div class="scroll"><table><tr><th>share</th>{head}</tr>{body}</table></div>\n'


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
