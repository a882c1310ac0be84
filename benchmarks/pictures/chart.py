"""The drawing: one user's history and vectors as an Altair chart.

Item and user vectors are drawn at unit length, since a direction is what a search goes by; a cross between the clouds
of items may point out of the plane.

Legend: L events · K vectors · I items · D dimensions · U corpus.
"""

from collections.abc import Mapping

import altair as alt
import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.pictures.plane import Plane, principal_plane
from benchmarks.pictures.user import NOISE, UserPicture
from multitudes.batches.user_vectors import UserVectors
from multitudes.index.item_table import l2_normalize

# Told apart by people who see few colours (Okabe and Ito), in the order of a method's vectors.
IMPLICIT = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#882255", "#44AA99"]
EXPLICIT = ["#56B4E9", "#A6761D", "#7570B3", "#66A61E", "#E7298A"]
WHOLE, NONE, CORPUS = "#111111", "#a0a0a0", "#dcdcdc"
LISTED = "#b3261e"
SHAPES = {"taste 1": "circle", "taste 2": "square", "taste 3": "triangle-up", "no taste": "diamond"}
X, PLUS = "M-1,-1L1,1M-1,1L1,-1", "M-1.2,0L1.2,0M0,-1.2L0,1.2"
CROSSES = {"unconditioned": X, "implicit": X, "explicit": PLUS}
SIZE = 340  # of the plot, in points
THIN = 3  # a part of the corpus says where items lie, at a third of the file
IN_NONE = "none"
BARE = alt.Axis(labels=False, ticks=False, grid=False)

Axes = tuple[alt.X, alt.Y]


def user_chart(
    seen: UserPicture, topics: Mapping[int, str], heading: list[str], single: str = "whole history"
) -> alt.LayerChart:
    """Return the chart of one user.

    Args:
        seen: the history and what a method made of it.
        topics: what the topics are called.
        heading: lines above the plot; the first is the largest.
        single: what the vector without a condition is called.
    """
    plane = principal_plane(l2_normalize(seen.item_ID[seen.item_L]))
    called = vector_names(seen.vectors, topics, single)
    events, vectors = event_rows(seen, plane, called), vector_rows(seen, plane, called)
    items = rows_at(plane, seen.item_ID[1::THIN])
    axes = _axes(plane, [items, events, vectors])
    colour = _colour(seen.vectors, called, events, vectors)
    layers = [_corpus(items, axes), _events(events, axes, colour), *_crosses(vectors, axes, colour)]
    return alt.LayerChart(layer=layers, width=SIZE, height=SIZE, title=chart_title(heading))


def lists_chart(seen: UserPicture, lists: Mapping[str, NDArray[np.int64]], heading: list[str]) -> alt.ConcatChart:
    """Return the chart of what systems that have no vectors propose: one plot for each.

    Args:
        seen: the history.
        lists: the items of each system's list.
        heading: as of ``picture``.
    """
    plane = principal_plane(l2_normalize(seen.item_ID[seen.item_L]))
    events, items = event_rows(seen, plane, ["history"]), rows_at(plane, seen.item_ID[1::THIN])
    listed = {name: rows_at(plane, seen.item_ID[numbers]) for name, numbers in lists.items()}
    axes = _axes(plane, [items, events, *listed.values()], titled=False)
    plots = []
    for name, rows in listed.items():
        mark = alt.Chart(rows).mark_point(aria=False, shape=X, size=45, strokeWidth=2, color=LISTED, opacity=1)
        layers = [_corpus(items, axes), _events(events, axes, alt.ColorValue(NONE)), mark.encode(*axes)]
        plots.append(alt.LayerChart(layer=layers, width=SIZE * 2 // 3, height=SIZE * 2 // 3, title=name))
    return alt.ConcatChart(concat=plots, columns=2, title=chart_title(heading))


def chart_title(heading: list[str]) -> alt.TitleParams:
    """Return a title with lines below it."""
    return alt.TitleParams(heading[0], subtitle=heading[1:], anchor="start", fontSize=13, subtitleFontSize=11)


def vector_names(vectors: UserVectors, topics: Mapping[int, str], single: str) -> list[str]:
    """Return what each vector of one user is called; an interest with its share of the implicit ones."""
    found: list[str] = []
    for k, kind in enumerate(vectors.kinds):
        if kind == "unconditioned":
            found.append(single)
        elif kind == "implicit":
            number = vectors.kinds[: k + 1].count("implicit")
            found.append(f"interest {number}, {vectors.weight_BK[0, k]:.0%}")
        else:
            found.append(topics.get(int(vectors.topic_BK[0, k]), f"no topic {k}"))
    return found


def vector_colours(vectors: UserVectors) -> list[str]:
    """Return the colour of each vector of one user."""
    own = {"implicit": iter(IMPLICIT), "explicit": iter(EXPLICIT)}
    return [WHOLE if kind == "unconditioned" else next(own[kind]) for kind in vectors.kinds]


def rows_at(plane: Plane, vector_ND: NDArray[np.floating]) -> pl.DataFrame:
    """Return where vectors lie in the plane, one row each."""
    at_N2 = plane.at(l2_normalize(vector_ND))
    return pl.DataFrame({"x": at_N2[:, 0], "y": at_N2[:, 1]})


def vector_rows(seen: UserPicture, plane: Plane, called: list[str]) -> pl.DataFrame:
    """Return one row for each vector that the user has."""
    rows = rows_at(plane, seen.vectors.vectors_BKD[0])
    named = rows.with_columns(vector=pl.Series(called), kind=pl.Series(seen.vectors.kinds))
    return named.filter(pl.Series(seen.vectors.mask_BK[0]))


def event_rows(seen: UserPicture, plane: Plane, called: list[str]) -> pl.DataFrame:
    """Return one row for each event of the history."""
    vector = [called[column] if column != NOISE else IN_NONE for column in seen.column_L.tolist()]
    rows = rows_at(plane, seen.item_ID[seen.item_L])
    return rows.with_columns(vector=pl.Series(vector), taste=pl.Series(taste_names(seen.taste_L)))


def taste_names(taste_L: NDArray[np.int64]) -> list[str]:
    """Return for each event what planted it, with the number of such events."""
    names = ["no taste" if taste == NOISE else f"taste {taste + 1}" for taste in taste_L.tolist()]
    return [f"{name}, {n} event{'s' if n > 1 else ''}" for name in names if (n := names.count(name))]


def _axes(plane: Plane, rows: list[pl.DataFrame], *, titled: bool = True) -> Axes:
    """Return the axes, of one scale, so that an angle in the picture is one in the plane."""
    at_N2 = pl.concat([part.select("x", "y") for part in rows]).to_numpy()
    middle_2 = (at_N2.max(axis=0) + at_N2.min(axis=0)) / 2
    half = np.ptp(at_N2, axis=0).max() / 2 * 1.05
    title = [
        f"{name} principal component, {share:.0%} of the variance"
        for name, share in zip(("first", "second"), plane.share_2, strict=True)
    ]
    scale = [alt.Scale(domain=[middle - half, middle + half], nice=False, zero=False) for middle in middle_2]
    bare = alt.Axis(labels=False, ticks=False, grid=False)
    return (
        alt.X("x:Q", title=title[0] if titled else None, scale=scale[0], axis=bare),
        alt.Y("y:Q", title=title[1] if titled else None, scale=scale[1], axis=bare),
    )


def _colour(vectors: UserVectors, called: list[str], *rows: pl.DataFrame) -> alt.Color:
    """Return the colour scale of the vectors that appear in the chart."""
    there = set(pl.concat([part["vector"] for part in rows]))
    by_name = dict(zip([*called, IN_NONE], [*vector_colours(vectors), NONE], strict=True))
    shown = {name: colour for name, colour in by_name.items() if name in there}
    scale = alt.Scale(domain=list(shown), range=list(shown.values()))
    legend = alt.Legend(orient="right", symbolType="square")
    return alt.Color("vector:N", title="vector", scale=scale, legend=legend)


def _corpus(rows: pl.DataFrame, axes: Axes) -> alt.Chart:
    drawn: alt.Chart = alt.Chart(rows).mark_circle(size=8, color=CORPUS, opacity=1, aria=False).encode(*axes)
    return drawn


def _events(rows: pl.DataFrame, axes: Axes, colour: alt.Color | alt.ColorValue) -> alt.Chart:
    called = sorted(set(rows["taste"]), key=lambda name: (name.startswith("no"), name))
    scale = alt.Scale(domain=called, range=[SHAPES[name.partition(",")[0]] for name in called])
    shape = alt.Shape("taste:N", title="planted by", scale=scale, legend=alt.Legend(orient="right"))
    base = alt.Chart(rows).mark_point(aria=False, filled=True, size=75, opacity=0.75, stroke="white", strokeWidth=0.6)
    drawn: alt.Chart = base.encode(*axes, color=colour, shape=shape)
    return drawn


def _crosses(rows: pl.DataFrame, axes: Axes, colour: alt.Color) -> list[alt.Chart]:
    layers = []
    for (kind,), of_kind in rows.group_by("kind", maintain_order=True):
        base, cross = alt.Chart(of_kind).encode(*axes), CROSSES[str(kind)]
        rim = base.mark_point(aria=False, shape=cross, size=130, opacity=1, strokeWidth=6, color="white")
        layers += [
            rim,
            base.mark_point(aria=False, shape=cross, size=130, opacity=1, strokeWidth=3).encode(color=colour),
        ]
    return layers
