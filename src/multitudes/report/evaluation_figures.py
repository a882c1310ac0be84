"""Charts of an evaluation: pure functions from a result to an Altair chart, or None without data."""

from typing import Any

import polars as pl

from multitudes.errors import missing_extra
from multitudes.evaluation.baselines import BASELINES
from multitudes.report.formatting import SEGMENTATION_LABELS, informative_systems, negate, source_name
from multitudes.report.html_elements import GREY, PLOT_WIDTH, zero_line

try:
    import altair as alt
except ImportError:
    raise missing_extra("altair", "report") from None

OWN, CONTROL, BASELINE = "this run", "control from the same run", "baseline"
COLOURS = {OWN: "#d1432f", CONTROL: "#3b7fc4", BASELINE: GREY}  # legible on white and on black
# Roles differ in colour and shape, for print and for readers with colour blindness.
SHAPES = {OWN: "circle", CONTROL: "diamond", BASELINE: "square"}


def method_role(method: str, own: str) -> str:
    """Return the role of a method in a comparison."""
    return OWN if method == own else BASELINE if method in BASELINES else CONTROL


def hit_rate_chart(block: dict[str, Any], own: str) -> alt.LayerChart:
    """Return the hit rate of every method with its interval, best first."""
    key = f"hr@{block['budget']}"
    rows = [{"method": m, "role": method_role(m, own)} | block["methods"][m][key] for m in informative_systems(block)]
    return _intervals(pl.DataFrame(rows), f"HR@{block['budget']}", _best_first(rows))


def gain_chart(block: dict[str, Any], own: str) -> alt.LayerChart | None:
    """Return the difference of every other system to the run, paired by user, with a line at zero."""
    key, systems = f"hr@{block['budget']}", informative_systems(block)
    gains = {m: negate(figures[key]) for m, figures in block["differences"].items() if m in systems}
    if not gains:
        return None
    rows = [{"method": method, "role": method_role(method, own)} | gain for method, gain in gains.items()]
    return _intervals(pl.DataFrame(rows), f"HR@{block['budget']} − {own}", _best_first(rows), zero_line("x"))


def budget_curve(block: dict[str, Any], own: str) -> alt.LayerChart | None:
    """Return the hit rate against the number of candidates, for methods with several budgets.

    Of the baselines, the strongest and popularity are shown: more grey lines could not be told apart.
    """
    hidden = set(BASELINES) - {block.get("strongest_baseline"), "popularity"}
    rows = [
        {"method": method, "role": method_role(method, own), "budget": budget, "mean": figures[f"hr@{budget}"]["mean"]}
        for method, figures in block["methods"].items()
        if method not in hidden
        for budget in block["budgets"]
        if f"hr@{budget}" in figures
    ]
    frame = pl.DataFrame(rows).filter(pl.len().over("method") > 1)
    if frame.is_empty():
        return None
    methods = frame["method"].unique(maintain_order=True).to_list()
    base = alt.Chart(frame).encode(
        x=alt.X("budget:Q", title="candidates, N").scale(type="log").axis(values=block["budgets"], grid=False),
        y=alt.Y("mean:Q", title="HR@N").scale(type="log").axis(tickCount=3),
        color=alt.Color("method:N", sort=methods, title=None)
        .scale(domain=methods, range=[COLOURS[method_role(method, own)] for method in methods])
        .legend(symbolType="stroke", symbolSize=200, columns=3),
        strokeDash=alt.StrokeDash("method:N", sort=methods, title=None).scale(
            domain=methods, range=_dashes(methods, own)
        ),
    )
    chart: alt.LayerChart = base.mark_line(strokeWidth=2) + base.mark_point(filled=True, size=30)
    return chart.properties(width=PLOT_WIDTH, height=240)


def segment_charts(block: dict[str, Any], own: str) -> list[tuple[str, alt.LayerChart]]:
    """Return the hit rate by segment, of the run and the main controls and baselines: a chart per segmentation."""
    key = f"hr@{block['budget']}"
    baseline = block.get("strongest_baseline") or "popularity"
    methods = [m for m in dict.fromkeys((own, "unconditioned", "random_partition", baseline)) if m in block["methods"]]
    charts = []
    for name, segments in block["segments"].items():
        rows = [
            {
                "segment": f"{label.replace('_', ' ')} ({segment['targets']:,})",
                "method": method,
                "role": method_role(method, own),
            }
            | segment["methods"][method][key]
            for label, segment in segments.items()
            if segment["targets"]
            for method in methods
        ]
        if len({row["segment"] for row in rows}) > 1:
            charts.append((SEGMENTATION_LABELS[name], _segment_chart(pl.DataFrame(rows), methods, key)))
    return charts


def source_chart(result: dict[str, Any]) -> alt.Chart:
    """Return the share of the candidates and of the hits of each vector."""
    rows = [
        {"vector": source_name(source), "of": of, "share": source[key]["mean"] or 0.0}
        for source in result["interests"]["sources"]
        for of, key in (("candidates", "candidate_share"), ("hits", "hit_share"))
        if source["candidate_share"]["mean"]
    ]
    frame = pl.DataFrame(rows)
    order = frame["vector"].unique(maintain_order=True).to_list()
    bars = alt.Chart(frame).mark_bar()
    chart: alt.Chart = bars.encode(
        y=alt.Y("vector:N", sort=order, title=None),
        yOffset=alt.YOffset("of:N", sort=["candidates", "hits"]),
        x=alt.X("share:Q", title="share").axis(format=".0%"),
        color=alt.Color("of:N", title="share of").scale(
            domain=["candidates", "hits"], range=[COLOURS[BASELINE], COLOURS[OWN]]
        ),
    )
    return chart.properties(width=PLOT_WIDTH, height=alt.Step(11))


def training_charts(epochs: list[dict[str, Any]]) -> list[tuple[str, alt.LayerChart]]:
    """Return the loss by kind of vector, and the validation hit rate, by epoch."""
    losses = [
        {"epoch": line["epoch"], "kind": kind, "value": value}
        for line in epochs
        for kind, value in line["loss"].items()
    ]
    rates = [{"epoch": line["epoch"], "kind": "all vectors", "value": line["validation_hit_rate"]} for line in epochs]
    return [
        ("loss", _curve(losses, "loss")),
        ("validation", _curve(rates, f"validation HR@{epochs[0]['validate_at']}")),
    ]


def _curve(rows: list[dict[str, Any]], title: str) -> alt.LayerChart:
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    last = max(row["epoch"] for row in rows)
    ticks = list(range(1, last + 1, max(1, last // 8)))
    colours = [COLOURS[OWN], COLOURS[CONTROL], COLOURS[BASELINE]][: len(kinds)]
    base = alt.Chart(pl.DataFrame(rows)).encode(
        x=alt.X("epoch:Q", title="epoch").axis(values=ticks, format="d", grid=False),
        y=alt.Y("value:Q", title=title).scale(zero=False),
        color=alt.Color("kind:N", title=None).scale(domain=kinds, range=colours),
        shape=alt.Shape("kind:N", title=None).scale(domain=kinds, range=list(SHAPES.values())[: len(kinds)]),
    )
    chart: alt.LayerChart = base.mark_line() + base.mark_point(filled=True, size=35)
    return chart.properties(width=PLOT_WIDTH, height=180)


def _intervals(frame: pl.DataFrame, title: str, order: list[str], *behind: alt.Chart) -> alt.LayerChart:
    base = alt.Chart(frame).encode(y=alt.Y("method:N", sort=order, title=None), color=_colour())
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title), x2="high:Q")
    points = base.mark_point(filled=True, size=70, opacity=1).encode(x="mean:Q", shape=_shape())
    return alt.LayerChart(layer=[*behind, bars, points]).properties(width=PLOT_WIDTH, height=alt.Step(21))


def _segment_chart(frame: pl.DataFrame, methods: list[str], title: str) -> alt.LayerChart:
    order = frame["segment"].unique(maintain_order=True).to_list()
    palette = [COLOURS[OWN], COLOURS[CONTROL], "#8e6bbf", COLOURS[BASELINE]]
    base = alt.Chart(frame).encode(
        y=alt.Y("segment:N", sort=order, title=None).axis(minExtent=7 * max(map(len, order))),
        yOffset=alt.YOffset("method:N", sort=methods),
        color=alt.Color("method:N", sort=methods, title=None).scale(domain=methods, range=palette[: len(methods)]),
    )
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title.upper()), x2="high:Q")
    points = base.mark_point(filled=True, size=50, opacity=1).encode(
        x="mean:Q", shape=alt.Shape("method:N", sort=methods, title=None).scale(domain=methods)
    )
    chart: alt.LayerChart = bars + points
    return chart.properties(width=PLOT_WIDTH, height=alt.Step(13))


def _dashes(methods: list[str], own: str) -> list[list[int]]:
    """Return a dash pattern for each method: methods of one role differ in theirs."""
    strokes = [[1, 0], [6, 2], [2, 2], [8, 3, 2, 3]]
    seen: dict[str, int] = {}
    dashes = []
    for method in methods:
        number = seen[method_role(method, own)] = seen.get(method_role(method, own), -1) + 1
        dashes.append(strokes[number % len(strokes)])
    return dashes


def _best_first(rows: list[dict[str, Any]]) -> list[str]:
    return [row["method"] for row in sorted(rows, key=lambda row: -(row["mean"] or 0))]


def _colour() -> alt.Color:
    return alt.Color("role:N", title=None).scale(domain=list(COLOURS), range=list(COLOURS.values()))


def _shape() -> alt.Shape:
    return alt.Shape("role:N", title=None).scale(domain=list(SHAPES), range=list(SHAPES.values()))
