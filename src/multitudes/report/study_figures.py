"""Charts of a study: pure functions from its summary to an Altair chart, or None without data."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import polars as pl

from multitudes.errors import missing_extra
from multitudes.report.formatting import SEGMENTATION_LABELS
from multitudes.report.html_elements import GREY, PLOT_WIDTH, zero_line
from multitudes.report.study_sentences import CONTROL_LABELS, main_comparison

try:
    import altair as alt
except ImportError:
    raise missing_extra("altair", "report") from None

VERDICT_COLOURS = {"better": "#1a8a4a", "level": GREY, "worse": "#c4392f"}
# Distinguishable with colour blindness, on white and on black (Okabe and Ito); beyond seven methods the shapes differ.
PALETTE = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", GREY)
SHAPES = ("circle", "diamond", "square", "triangle-up", "cross", "triangle-down")
DASHES = ([1, 0], [6, 2], [2, 2], [8, 3, 2, 3])
STUDY_SEGMENTATION_LABELS = SEGMENTATION_LABELS | {
    "activity": "activity of the user",
    "tastes": "number of tastes of the user",
}
_RANKS_WIDTH, _RANKS_ROW = 420, 22  # pixels


class MethodStyles(NamedTuple):
    """Colour, shape and dash of each method, the same in all charts of a page."""

    position: dict[str, int]  # of each method among all methods of the study

    def subset(self, methods: Iterable[str]) -> "MethodStyles":
        """Return the same styles of some methods only, so that a legend lists no others."""
        subset = set(methods)
        return MethodStyles({method: place for method, place in self.position.items() if method in subset})

    def colour(self) -> alt.Color:
        """Return the colour encoding, with its legend."""
        legend = alt.Legend(columns=4, title=None, symbolStrokeWidth=0)
        colours = [PALETTE[place % len(PALETTE)] for place in self.position.values()]
        return alt.Color("method:N", sort=self.order).scale(domain=self.order, range=colours).legend(legend)

    def shape(self) -> alt.Shape:
        """Return the shape encoding, which distinguishes methods of equal colour."""
        shapes = [SHAPES[place % len(SHAPES)] for place in self.position.values()]
        legend = alt.Legend(columns=4, title=None, symbolStrokeWidth=0)
        return alt.Shape("method:N", sort=self.order).scale(domain=self.order, range=shapes).legend(legend)

    def dash(self) -> alt.StrokeDash:
        """Return the dash encoding of lines."""
        dashes = [list(DASHES[place % len(DASHES)]) for place in self.position.values()]
        return alt.StrokeDash("method:N", sort=self.order).scale(domain=self.order, range=dashes).legend(None)

    @property
    def order(self) -> list[str]:
        """The methods in the order of the study."""
        return list(self.position)


def difference_chart(data_set: dict[str, Any], reference: str) -> alt.LayerChart | None:
    """Return HR less that of the reference with intervals: methods by verdict, and their controls."""
    rows = [
        {"method": method, "verdict": gain.get("verdict", "control")} | gain
        for method, entry in data_set["methods"].items()
        if (gain := entry["minus"].get("hr")) and _is_comparable(method, entry["role"])
    ]
    if not rows:
        return None
    order = [row["method"] for row in sorted(rows, key=lambda row: -(row["mean"] or 0))]
    domain = [*VERDICT_COLOURS, "control"]
    colours = [*VERDICT_COLOURS.values(), "#2f7fc1"]
    base = alt.Chart(pl.DataFrame([_scalar_values(row) for row in rows])).encode(
        y=_name_axis("method", order),
        color=alt.Color("verdict:N", title=None).scale(domain=domain, range=colours),
    )
    bars = base.mark_rule(strokeWidth=2).encode(
        x=_difference_axis(f"HR@{data_set['budget']} − {reference}"), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        x="mean:Q",
        shape=alt.Shape("verdict:N", title=None).scale(
            domain=domain, range=["circle", "square", "triangle-down", "diamond"]
        ),
    )
    chart: alt.LayerChart = zero_line("x") + bars + points
    return chart.properties(width=PLOT_WIDTH, height=alt.Step(20))


def baseline_chart(summary: dict[str, Any]) -> alt.LayerChart | None:
    """Return HR less that of the strongest baseline, else the reference, with intervals: all data sets and methods."""
    reference, compared = main_comparison(summary)
    rows = [
        {"data": name, "method": method} | gain
        for name, (_, minus) in compared.items()
        for method, gain in minus.items()
    ]
    if not rows:
        return None
    methods = list(dict.fromkeys(row["method"] for row in rows))
    names = alt.Scale(domain=methods, range=[PALETTE[place % len(PALETTE)] for place in range(len(methods))])
    base = alt.Chart(pl.DataFrame([_scalar_values(row) for row in rows])).encode(
        y=_name_axis("data", list(summary["data"])),
        yOffset=alt.YOffset("method:N", sort=methods),
        color=alt.Color("method:N", title=None, sort=methods, scale=names),
    )
    budget = next(iter(summary["data"].values()))["budget"]
    bars = base.mark_rule(strokeWidth=2).encode(
        x=_difference_axis(f"HR@{budget} − {reference or 'strongest baseline'}"), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        x="mean:Q",
        shape=alt.Shape("method:N", title=None, sort=methods).scale(
            domain=methods, range=[SHAPES[place % len(SHAPES)] for place in range(len(methods))]
        ),
    )
    chart: alt.LayerChart = zero_line("x") + bars + points
    rows_high = 18 * len(methods) + 10  # pixels of a data set
    return chart.properties(width=PLOT_WIDTH, height=rows_high * len(summary["data"]), background="white")


def budget_chart(data_set: dict[str, Any], styles: MethodStyles) -> alt.LayerChart | None:
    """Return HR against the number of candidates, of methods and popularity; both axes logarithmic."""
    rows = [
        _scalar_values({"method": method, "budget": int(budget)} | rates[method])
        for budget, rates in data_set["curves"].items()
        for method in styles.position
        if method in rates and (rates[method]["mean"] or 0) > 0
    ]
    if len(data_set["budgets"]) < 2 or not rows:
        return None
    own = styles.subset(row["method"] for row in rows)
    base = alt.Chart(pl.DataFrame(rows)).encode(
        x=alt.X("budget:Q", title="candidates, N")
        .scale(type="log")
        .axis(values=data_set["budgets"], grid=False, format="d"),
        y=alt.Y("mean:Q", title="HR@N").scale(type="log", nice=False, padding=8).axis(titlePadding=14),
        color=own.colour(),
    )
    lines = base.mark_line(strokeWidth=2).encode(strokeDash=own.dash())
    points = base.mark_point(filled=True, size=35, opacity=1).encode(shape=own.shape())
    chart: alt.LayerChart = lines + points
    return chart.properties(width=PLOT_WIDTH, height=220)


def gain_by_budget_chart(data_set: dict[str, Any], reference: str, styles: MethodStyles) -> alt.LayerChart | None:
    """Return HR relative to the reference at each budget, a difference too small for the curves to show."""
    rows = [
        {"method": method, "budget": int(budget)} | rates[method]["relative"]
        for budget, rates in data_set["curves"].items()
        for method in styles.position
        if "relative" in rates.get(method, {}) and data_set["methods"][method]["role"] == "method"
    ]
    if len(data_set["budgets"]) < 2 or not rows:
        return None
    own = styles.subset(row["method"] for row in rows)
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
    zero = alt.Chart(pl.DataFrame({"zero": [0.0]})).mark_rule(color=GREY, strokeDash=[3, 3]).encode(y="zero:Q")
    chart: alt.LayerChart = zero + bars + points
    return chart.properties(width=PLOT_WIDTH, height=220)


def segment_charts(data_set: dict[str, Any], reference: str, styles: MethodStyles) -> list[tuple[str, alt.LayerChart]]:
    """Return HR less that of the reference in every segment: a chart per segmentation."""
    charts = []
    for name, labels in data_set["segments"].items():
        rows = [
            _scalar_values({"segment": f"{label.replace('_', ' ')} ({sizes['targets']:,})", "method": method} | gain)
            for label, sizes in labels.items()
            for method, gain in sizes["minus"].items()
        ]
        if rows:
            title = f"HR@{data_set['budget']} − {reference}"
            charts.append(
                (
                    STUDY_SEGMENTATION_LABELS.get(name, name),
                    _segment_chart(rows, title, styles.subset(row["method"] for row in rows)),
                )
            )
    return charts


def source_chart(health: dict[str, dict[str, Any]]) -> alt.Chart | None:
    """Return the share of hits of each method by kind of vector: unconditioned, implicit, explicit, or popularity."""
    rows = [
        {"method": method, "source": kind, "share": share}
        for method, figures in health.items()
        for kind, share in _hit_shares(figures.get("sources", [])).items()
    ]
    if not rows:
        return None
    kinds = ["unconditioned", "implicit", "explicit", "popular"]
    chart: alt.Chart = (
        alt.Chart(pl.DataFrame(rows))
        .mark_bar()
        .encode(
            y=_name_axis("method", list(health)),
            x=alt.X("share:Q", title="share of hits").axis(format=".0%").scale(domain=[0, 1]),
            color=alt.Color("source:N", title=None).scale(domain=kinds, range=[GREY, "#0072b2", "#e69f00", "#cc79a7"]),
            order=alt.Order("rank:Q"),
        )
        .transform_calculate(rank=f"indexof({kinds}, datum.source)")
        .properties(width=PLOT_WIDTH, height=alt.Step(20))
    )
    return chart


def _hit_shares(sources: list[dict[str, Any]]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for source in sources:
        shares[source["source"]] = shares.get(source["source"], 0.0) + (source["hit_share"] or 0.0)
    return {kind: share for kind, share in shares.items() if share}


def _segment_chart(rows: list[dict[str, Any]], title: str, look: MethodStyles) -> alt.LayerChart:
    order = list(dict.fromkeys(row["segment"] for row in rows))
    base = alt.Chart(pl.DataFrame(rows)).encode(
        y=_name_axis("segment", order),
        yOffset=alt.YOffset("method:N", sort=look.order),
        color=look.colour(),
    )
    bars = base.mark_rule(strokeWidth=2).encode(x=_difference_axis(title), x2="high:Q")
    points = base.mark_point(filled=True, size=45, opacity=1).encode(x="mean:Q", shape=look.shape())
    chart: alt.LayerChart = zero_line("x") + bars + points
    return chart.properties(width=PLOT_WIDTH, height=alt.Step(12))


def _name_axis(field: str, order: list[str]) -> alt.Y:
    """Return the axis of names, with room for wide fonts."""
    longest = max(map(len, order), default=0)
    return alt.Y(f"{field}:N", sort=order, title=None).axis(labelLimit=300, minExtent=7 * longest)


def _difference_axis(title: str) -> alt.X:
    """Return the axis of a difference: few ticks, because their labels are long."""
    return alt.X("low:Q", title=title).axis(tickCount=4, format="+.3~f")


def _is_comparable(method: str, role: str) -> bool:
    """Return whether a method fits on the scale of the chart: baselines often do not, and are only in the table."""
    return role == "method" or method.partition("/")[2] in CONTROL_LABELS


def _scalar_values(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not isinstance(value, dict)}


def critical_difference_diagram(overall: dict[str, Any]) -> alt.LayerChart | None:
    """Return the critical-difference diagram (Demšar 2006) of average ranks; None for fewer than two methods.

    A line leads from each rank to the method's name: on the left for the better half, on the right for the others. A
    thick bar joins methods without a significant difference between any two.
    """
    ranks: dict[str, float] = overall["ranks"]
    if len(ranks) < 2:
        return None
    scale = alt.Scale(domain=[1, len(ranks)], nice=False)
    bars = _bars(ranks, overall["cliques"])
    depth = max((bar["y"] for bar in bars), default=0.0)
    labels = _label_rows(ranks, depth)
    height = _RANKS_ROW * (max(row["y"] for row in labels) + 0.6)
    tall = alt.Scale(domain=[0, height / _RANKS_ROW], reverse=True, nice=False)
    x = (
        alt.X("rank:Q", title="average rank of the hit rate")
        .scale(scale)
        .axis(orient="top", grid=False, values=list(range(1, len(ranks) + 1)), format="d")
    )
    y = alt.Y("y:Q", axis=None).scale(tall)
    base = alt.Chart(pl.DataFrame(labels)).encode(x=x, y=y)
    layers = [
        base.mark_rule(color=GREY).encode(y=alt.Y("top:Q", axis=None).scale(tall), y2="y:Q"),
        base.mark_rule(color=GREY).encode(x2="edge:Q"),
        base.mark_point(filled=True, size=45, opacity=1, color="#d55e00").encode(
            y=alt.Y("top:Q", axis=None).scale(tall)
        ),
        _labels(labels, "left", x, y),
        _labels(labels, "right", x, y),
    ]
    if bars:
        thick = alt.Chart(pl.DataFrame(bars)).mark_rule(strokeWidth=5, color="#0072b2", strokeCap="round")
        layers.append(thick.encode(x=alt.X("first:Q").scale(scale), x2="last:Q", y=y))
    chart = alt.LayerChart(layer=[layer for layer in layers if layer is not None])
    return chart.properties(width=_RANKS_WIDTH, height=height)


def _bars(ranks: dict[str, float], cliques: list[list[str]]) -> list[dict[str, float]]:
    """Return the ends of each bar; the bars are stacked."""
    margin = 0.02 * (len(ranks) - 1)
    return [
        {"first": ranks[bar[0]] - margin, "last": ranks[bar[-1]] + margin, "y": 0.5 + 0.45 * number}
        for number, bar in enumerate(cliques)
    ]


def _label_rows(ranks: dict[str, float], depth: float) -> list[dict[str, Any]]:
    """Return where each method's line ends; outer lines are shorter, so none cross."""
    names = sorted(ranks, key=lambda name: ranks[name])
    half = (len(names) + 1) // 2
    rows = []
    for place, name in enumerate(names):
        side = "left" if place < half else "right"
        row = place if side == "left" else len(names) - 1 - place
        edge = 1 if side == "left" else len(names)
        rows.append(
            {
                "rank": ranks[name],
                "top": 0.0,
                "y": depth + 0.7 + row,
                "edge": edge,
                "side": side,
                "name": f"{name} {ranks[name]:.2f}",
            }
        )
    return rows


def _labels(rows: list[dict[str, Any]], side: str, x: alt.X, y: alt.Y) -> alt.Chart | None:
    own = [row | {"rank": row["edge"]} for row in rows if row["side"] == side]
    if not own:
        return None
    base = alt.Chart(pl.DataFrame(own))
    text = base.mark_text(align="right", dx=-6) if side == "left" else base.mark_text(align="left", dx=6)
    chart: alt.Chart = text.encode(x=x, y=y, text="name:N")
    return chart
