"""The figures of a study: pure functions from its summary to a chart, or None where there is nothing to show."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import polars as pl

from multitudes.errors import missing_extra
from multitudes.report.study_words import CONTROLS
from multitudes.report.words import SEGMENTATIONS

try:
    import altair as alt
except ImportError:
    raise missing_extra("altair", "report") from None

VERDICTS = {"better": "#1a8a4a", "level": "#8a8f98", "worse": "#c4392f"}
# Told apart by people who see few colours (Okabe and Ito), on white and on black; with more methods, shapes go on.
PALETTE = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8f98")
SHAPES = ("circle", "diamond", "square", "triangle-up", "cross", "triangle-down")
DASHES = ([1, 0], [6, 2], [2, 2], [8, 3, 2, 3])
WIDTH = 300  # of a plot without its labels: two stand side by side on a page


class Look(NamedTuple):
    """One colour, shape and dash for each method, the same in all figures of a page."""

    place: dict[str, int]  # of each method among all of the study

    def of(self, methods: Iterable[str]) -> "Look":
        """Return the same look of some methods only, so that a legend names no others."""
        wanted = set(methods)
        return Look({method: place for method, place in self.place.items() if method in wanted})

    def colour(self) -> alt.Color:
        """Return the encoding by colour, with its legend."""
        legend = alt.Legend(columns=4, title=None, symbolStrokeWidth=0)
        colours = [PALETTE[place % len(PALETTE)] for place in self.place.values()]
        return alt.Color("method:N", sort=self.order).scale(domain=self.order, range=colours).legend(legend)

    def shape(self) -> alt.Shape:
        """Return the encoding by shape; among more methods than colours, it tells apart those of one colour."""
        shapes = [SHAPES[place % len(SHAPES)] for place in self.place.values()]
        legend = alt.Legend(columns=4, title=None, symbolStrokeWidth=0)
        return alt.Shape("method:N", sort=self.order).scale(domain=self.order, range=shapes).legend(legend)

    def dash(self) -> alt.StrokeDash:
        """Return the encoding of lines by dashes."""
        dashes = [list(DASHES[place % len(DASHES)]) for place in self.place.values()]
        return alt.StrokeDash("method:N", sort=self.order).scale(domain=self.order, range=dashes).legend(None)

    @property
    def order(self) -> list[str]:
        """Return the methods, in the order of the study."""
        return list(self.place)


def differences(part: dict[str, Any], reference: str) -> alt.LayerChart | None:
    """Show HR less that of the reference with intervals: methods by verdict, their two controls beside them."""
    rows = [
        {"method": method, "verdict": gain.get("verdict", "control")} | gain
        for method, found in part["methods"].items()
        if (gain := found["minus"].get("hr")) and _shown(method, found["role"])
    ]
    if not rows:
        return None
    order = [row["method"] for row in sorted(rows, key=lambda row: -(row["mean"] or 0))]
    domain = [*VERDICTS, "control"]
    colours = [*VERDICTS.values(), "#2f7fc1"]
    base = alt.Chart(pl.DataFrame([_plain(row) for row in rows])).encode(
        y=_names("method", order),
        color=alt.Color("verdict:N", title=None).scale(domain=domain, range=colours),
    )
    bars = base.mark_rule(strokeWidth=2).encode(x=_gain(f"HR@{part['budget']} − {reference}"), x2="high:Q")
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        x="mean:Q",
        shape=alt.Shape("verdict:N", title=None).scale(
            domain=domain, range=["circle", "square", "triangle-down", "diamond"]
        ),
    )
    drawn: alt.LayerChart = _zero() + bars + points
    return drawn.properties(width=WIDTH, height=alt.Step(20))


def curves(part: dict[str, Any], look: Look) -> alt.LayerChart | None:
    """Show HR against the number of candidates, methods and popularity; both axes logarithmic."""
    rows = [
        _plain({"method": method, "budget": int(budget)} | found[method])
        for budget, found in part["curves"].items()
        for method in look.place
        if method in found and (found[method]["mean"] or 0) > 0
    ]
    if len(part["budgets"]) < 2 or not rows:
        return None
    own = look.of(row["method"] for row in rows)
    base = alt.Chart(pl.DataFrame(rows)).encode(
        x=alt.X("budget:Q", title="candidates, N")
        .scale(type="log")
        .axis(values=part["budgets"], grid=False, format="d"),
        y=alt.Y("mean:Q", title="HR@N").scale(type="log", nice=False, padding=8).axis(titlePadding=14),
        color=own.colour(),
    )
    lines = base.mark_line(strokeWidth=2).encode(strokeDash=own.dash())
    points = base.mark_point(filled=True, size=35, opacity=1).encode(shape=own.shape())
    drawn: alt.LayerChart = lines + points
    return drawn.properties(width=WIDTH, height=220)


def gains_by_budget(part: dict[str, Any], reference: str, look: Look) -> alt.LayerChart | None:
    """Show by how much HR exceeds that of the reference at each budget, where the curves would lie on each other."""
    rows = [
        {"method": method, "budget": int(budget)} | found[method]["relative"]
        for budget, found in part["curves"].items()
        for method in look.place
        if "relative" in found.get(method, {}) and part["methods"][method]["role"] == "method"
    ]
    if len(part["budgets"]) < 2 or not rows:
        return None
    own = look.of(row["method"] for row in rows)
    base = alt.Chart(pl.DataFrame(rows)).encode(
        x=alt.X("budget:O", title="candidates, N").axis(labelAngle=0, grid=False),
        xOffset=alt.XOffset("method:N", sort=own.order),
        color=own.colour(),
    )
    title = f"HR@N / that of {reference} − 1"
    bars = base.mark_rule(strokeWidth=2).encode(
        y=alt.Y("low:Q", title=title).axis(format="+.0%", titlePadding=14), y2="high:Q"
    )
    points = base.mark_point(filled=True, size=45, opacity=1).encode(y="mean:Q", shape=own.shape())
    zero = alt.Chart(pl.DataFrame({"zero": [0.0]})).mark_rule(color="#8a8f98", strokeDash=[3, 3]).encode(y="zero:Q")
    drawn: alt.LayerChart = zero + bars + points
    return drawn.properties(width=WIDTH, height=220)


def segments(part: dict[str, Any], reference: str, look: Look) -> list[tuple[str, alt.LayerChart]]:
    """Show HR less that of the reference in every segment; one chart for each segmentation."""
    charts = []
    for name, labels in part["segments"].items():
        rows = [
            _plain({"segment": f"{label} ({sizes['targets']:,})", "method": method} | gain)
            for label, sizes in labels.items()
            for method, gain in sizes["minus"].items()
        ]
        if rows:
            title = f"HR@{part['budget']} − {reference}"
            charts.append(
                (
                    STUDY_SEGMENTATIONS.get(name, name),
                    _segment_chart(rows, title, look.of(row["method"] for row in rows)),
                )
            )
    return charts


STUDY_SEGMENTATIONS = SEGMENTATIONS | {
    "activity": "activity of the user",
    "tastes": "number of tastes of the user",
}


def sources(health: dict[str, dict[str, Any]]) -> alt.Chart | None:
    """Show which vectors bring the hits of each method: the unconditioned one, interests, topics, or popularity."""
    rows = [
        {"method": method, "source": kind, "share": share}
        for method, figures in health.items()
        for kind, share in _hit_shares(figures.get("sources", [])).items()
    ]
    if not rows:
        return None
    kinds = ["unconditioned", "implicit", "explicit", "popular"]
    drawn: alt.Chart = (
        alt.Chart(pl.DataFrame(rows))
        .mark_bar()
        .encode(
            y=_names("method", list(health)),
            x=alt.X("share:Q", title="share of hits").axis(format=".0%").scale(domain=[0, 1]),
            color=alt.Color("source:N", title=None).scale(
                domain=kinds, range=["#8a8f98", "#0072b2", "#e69f00", "#cc79a7"]
            ),
            order=alt.Order("rank:Q"),
        )
        .transform_calculate(rank=f"indexof({kinds}, datum.source)")
        .properties(width=WIDTH, height=alt.Step(20))
    )
    return drawn


def _hit_shares(found: list[dict[str, Any]]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for source in found:
        shares[source["source"]] = shares.get(source["source"], 0.0) + (source["hit_share"] or 0.0)
    return {kind: share for kind, share in shares.items() if share}


def _segment_chart(rows: list[dict[str, Any]], title: str, look: Look) -> alt.LayerChart:
    order = list(dict.fromkeys(row["segment"] for row in rows))
    base = alt.Chart(pl.DataFrame(rows)).encode(
        y=_names("segment", order),
        yOffset=alt.YOffset("method:N", sort=look.order),
        color=look.colour(),
    )
    bars = base.mark_rule(strokeWidth=2).encode(x=_gain(title), x2="high:Q")
    points = base.mark_point(filled=True, size=45, opacity=1).encode(x="mean:Q", shape=look.shape())
    drawn: alt.LayerChart = _zero() + bars + points
    return drawn.properties(width=WIDTH, height=alt.Step(12))


def _names(field: str, order: list[str]) -> alt.Y:
    """Return the axis of names, with room for fonts that are wider than the one it was measured with."""
    longest = max(map(len, order), default=0)
    return alt.Y(f"{field}:N", sort=order, title=None).axis(labelLimit=300, minExtent=7 * longest)


def _gain(title: str) -> alt.X:
    """Return the axis of a difference: few ticks, for their labels are long."""
    return alt.X("low:Q", title=title).axis(tickCount=4, format="+.3~f")


def _zero() -> alt.Chart:
    base = alt.Chart(pl.DataFrame({"zero": [0.0]}))
    drawn: alt.Chart = base.mark_rule(color="#8a8f98", strokeDash=[3, 3]).encode(x="zero:Q")
    return drawn


def _shown(method: str, role: str) -> bool:
    """Return True for what can be compared on one scale: baselines are often far off, and stand in the table."""
    return role == "method" or method.partition("/")[2] in CONTROLS


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not isinstance(value, dict)}
