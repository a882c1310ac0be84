"""Plots of the marginals of the world beside those of public data sets."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import altair as alt
import polars as pl

from benchmarks.simulate.calibration import SHARES
from benchmarks.simulate.sets import WORLD
from multitudes.report.html_elements import svg

# Colours for colour-blind readers (Okabe and Ito); dashes distinguish sets of one source.
_LOOKS = {
    "amazon-beauty": ("#0072B2", [1, 0]),
    "amazon-sports": ("#0072B2", [6, 2]),
    "amazon-toys": ("#0072B2", [2, 2]),
    "complete-journey": ("#009E73", [1, 0]),
    "foursquare-nyc": ("#E69F00", [1, 0]),
    "foursquare-saopaulo": ("#E69F00", [6, 2]),
    "movielens-small": ("#7570B3", [1, 0]),
}
_OWN, _OTHER = ("#b3261e", [1, 0]), ("#8a8f98", [1, 0])
_WIDTH, _HEIGHT = 250, 190
_USERS = "share of the users"

Sets = Mapping[str, Mapping[str, Any]]


def draw(sets: Sets, file: Path) -> None:
    """Write ``file`` as SVG."""
    file.write_text(svg(chart(sets)) + "\n", encoding="utf-8")


def chart(sets: Sets) -> alt.ConcatChart:
    """Return the plots."""
    names = [*(name for name in sets if name != WORLD), WORLD]
    curves: dict[str, tuple[Iterator[dict[str, Any]], str, Literal["linear", "log"]]] = {
        "events of a user": (_quantiles(sets, "history"), _USERS, "log"),
        "share of the events": (_tops(sets), "share of the items, the most popular first", "linear"),
        "topics among ten events of a user": (_quantiles(sets, "topics"), _USERS, "linear"),
        "days with an event, of 30": (_quantiles(sets, "days", "active_in_30"), _USERS, "log"),
        "events on such a day": (_quantiles(sets, "days", "events_a_day"), _USERS, "log"),
    }
    plots = [_curve(pl.DataFrame(list(rows)), names, x, y, scale) for y, (rows, x, scale) in curves.items()]
    drawn = alt.ConcatChart(concat=[*plots, _repeats(sets, names)], columns=3)
    shared: alt.ConcatChart = drawn.resolve_scale(color="shared")
    return shared


def _quantiles(sets: Sets, *path: str) -> Iterator[dict[str, Any]]:
    for name, found in sets.items():
        part: Any = found
        for key in path:
            part = part and part[key]
        if part and part["curve"]:
            yield from ({"set": name, "x": x, "y": y} for x, y in zip(SHARES, part["curve"], strict=True))


def _tops(sets: Sets) -> Iterator[dict[str, Any]]:
    for name, found in sets.items():
        yield from ({"set": name, "x": float(x), "y": y} for x, y in found["popularity"].items() if x != "gini")


def _curve(rows: pl.DataFrame, names: list[str], x: str, y: str, scale: Literal["linear", "log"]) -> alt.LayerChart:
    of_items = x != _USERS
    across = alt.X("x:Q", title=x, scale=alt.Scale(type="log" if of_items else "linear", nice=False))
    across = across.axis(format="~%", grid=False, values=[0.001, 0.01, 0.1, 1] if of_items else [0, 0.25, 0.5, 0.75, 1])
    up = alt.Y("y:Q", title=y, scale=alt.Scale(type=scale, zero=scale != "log"))
    layers = [
        alt.Chart(rows.filter((pl.col("set") == WORLD) == own))
        .mark_line(aria=False, clip=True, strokeWidth=4 if own else 1.5)
        .encode(x=across, y=up, color=_colour(names), strokeDash=_dash(names))
        for own in (False, True)
    ]
    return alt.LayerChart(layer=layers, width=_WIDTH, height=_HEIGHT)


def _repeats(sets: Sets, names: list[str]) -> alt.Chart:
    rows = pl.DataFrame([{"set": name, "share": sets[name]["repeat_share"]} for name in names])
    bars = (
        alt.Chart(rows)
        .mark_bar(aria=False, height=9)
        .encode(
            x=alt.X("share:Q", title="events that repeat one of the same user").axis(format="~%"),
            y=alt.Y("set:N", title=None, sort=names),
            color=_colour(names),
        )
    )
    drawn: alt.Chart = bars.properties(width=_WIDTH - 90, height=_HEIGHT)
    return drawn


def _look(name: str) -> tuple[str, list[int]]:
    return _OWN if name == WORLD else _LOOKS.get(name, _OTHER)


def _colour(names: list[str]) -> alt.Color:
    scale = alt.Scale(domain=names, range=[_look(name)[0] for name in names])
    return alt.Color("set:N", title=None, scale=scale, legend=alt.Legend(symbolType="stroke", columns=8))


def _dash(names: list[str]) -> alt.StrokeDash:
    scale = alt.Scale(domain=names, range=[_look(name)[1] for name in names])
    return alt.StrokeDash("set:N", title=None, scale=scale)
