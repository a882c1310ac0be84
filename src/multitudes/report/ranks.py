"""The critical-difference picture: average ranks on a line, bars over methods that are not told apart."""

from typing import Any

import polars as pl

from multitudes.errors import missing_extra

try:
    import altair as alt
except ImportError:
    raise missing_extra("altair", "report") from None

_WIDTH, _ROW = 420, 22  # pixels
_INK = "#8a8f98"


def critical_difference(overall: dict[str, Any]) -> alt.LayerChart | None:
    """Return the picture (Demšar 2006) of average ranks, the best on the left; None for fewer than two methods.

    Each method hangs on a line from its rank: the better half to the left, the others to the right. A thick bar joins
    methods of which no pair is shown to differ.
    """
    ranks: dict[str, float] = overall["ranks"]
    if len(ranks) < 2:
        return None
    scale = alt.Scale(domain=[1, len(ranks)], nice=False)
    bars = _bars(ranks, overall["cliques"])
    depth = max((bar["y"] for bar in bars), default=0.0)
    hung = _hung(ranks, depth)
    height = _ROW * (max(row["y"] for row in hung) + 0.6)
    tall = alt.Scale(domain=[0, height / _ROW], reverse=True, nice=False)
    x = (
        alt.X("rank:Q", title="average rank of the hit rate")
        .scale(scale)
        .axis(orient="top", grid=False, values=list(range(1, len(ranks) + 1)), format="d")
    )
    y = alt.Y("y:Q", axis=None).scale(tall)
    base = alt.Chart(pl.DataFrame(hung)).encode(x=x, y=y)
    layers = [
        base.mark_rule(color=_INK).encode(y=alt.Y("top:Q", axis=None).scale(tall), y2="y:Q"),
        base.mark_rule(color=_INK).encode(x2="edge:Q"),
        base.mark_point(filled=True, size=45, opacity=1, color="#d55e00").encode(
            y=alt.Y("top:Q", axis=None).scale(tall)
        ),
        _labels(hung, "left", x, y),
        _labels(hung, "right", x, y),
    ]
    if bars:
        thick = alt.Chart(pl.DataFrame(bars)).mark_rule(strokeWidth=5, color="#0072b2", strokeCap="round")
        layers.append(thick.encode(x=alt.X("first:Q").scale(scale), x2="last:Q", y=y))
    drawn = alt.LayerChart(layer=[layer for layer in layers if layer is not None])
    return drawn.properties(width=_WIDTH, height=height)


def _bars(ranks: dict[str, float], cliques: list[list[str]]) -> list[dict[str, float]]:
    """Return where each bar begins and ends, one below the other."""
    margin = 0.02 * (len(ranks) - 1)
    return [
        {"first": ranks[bar[0]] - margin, "last": ranks[bar[-1]] + margin, "y": 0.5 + 0.45 * number}
        for number, bar in enumerate(cliques)
    ]


def _hung(ranks: dict[str, float], depth: float) -> list[dict[str, Any]]:
    """Return where each method's line ends: the outermost are the shortest, so that no lines cross."""
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
    drawn: alt.Chart = text.encode(x=x, y=y, text="name:N")
    return drawn
