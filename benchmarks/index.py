"""The inverted index against exact search: recall, queries per second, build, size, load.

Two kinds of vectors. *Clustered*: 2,000 centres and noise, queries near centres, which is easy for inverted lists.
*Latent*: 32 factors and noise, no clusters, which is hard and nearer to learned vectors.

Legend: n items · Q queries · D dimensions · F factors.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import SEED
from benchmarks.child import in_child
from benchmarks.timing import both, clocked, figure, rates, settings
from multitudes.index.exact import Exact
from multitudes.index.inverted import Inverted
from multitudes.index.protocol import Index
from multitudes.progress import Progress
from multitudes.seeding import generator

VECTORS_PER_USER = 12
Kind = Literal["clustered", "latent"]
KINDS: tuple[Kind, ...] = ("clustered", "latent")


class Sizes(NamedTuple):
    """Corpora, their width, results per query, and queries that are measured on (as many again are tuned on)."""

    items: tuple[int, ...]
    width: int
    depth: int
    queries: int
    repeats: int


FULL = Sizes(items=(100_000, 1_000_000), width=64, depth=100, queries=240, repeats=5)
QUICK = Sizes(items=(3_000,), width=16, depth=20, queries=24, repeats=2)


def measure(sizes: Sizes, folder: Path, progress: Progress) -> dict[str, Any]:
    """Return figures for each size and kind of vectors, each in a process of its own."""
    measured: list[dict[str, Any]] = []
    for items in sizes.items:
        for kind in KINDS:
            progress(len(measured), len(sizes.items) * len(KINDS), f"{items:,} {kind} vectors")
            own = folder / f"{kind}-{items}"
            own.mkdir(parents=True)
            outcome = in_child(measure_one, items=items, kind=kind, folder=str(own), **_rest(sizes))
            measured.append(outcome.value | {"peak_mib": figure(outcome.peak_mib)})
    return {"settings": settings(sizes), "indexes": measured}


def _rest(sizes: Sizes) -> dict[str, int]:
    return {name: value for name, value in settings(sizes).items() if name != "items"}


def measure_one(
    items: int, kind: Kind, folder: str, width: int, depth: int, queries: int, repeats: int
) -> dict[str, Any]:
    """Build, save, load and search one index."""
    vectors_nD, query_QD = vectors(kind, items, 2 * queries, width)
    kept: list[Inverted] = []
    build = clocked(
        lambda: kept.append(
            Inverted.build(np.arange(1, items + 1), vectors_nD, queries=query_QD[queries:], depth=depth)
        ),
        1,
    )
    built = kept[0]
    exact = Exact.build(np.arange(1, items + 1), vectors_nD)
    built.save(Path(folder))
    load = clocked(lambda: Inverted.load(Path(folder)), repeats)
    index, asked_QD = Inverted.load(Path(folder)), query_QD[:queries]
    return {
        "items": items,
        "vectors": kind,
        "tuning": built.info()["tuning"],
        "build_s": both(build),
        "size_mib": {file.name: figure(file.stat().st_size / 2**20) for file in sorted(Path(folder).iterdir())},
        "load_ms": both(load, 1000),
        "recall": figure(_recall(index, exact, asked_QD, depth)),
        "queries_per_s": _rates(index, asked_QD, depth, repeats),
        "exact_queries_per_s": _rates(exact, asked_QD[: max(24, queries // 10)], depth, 1),
        "user_ms": _of_a_user(index, asked_QD, repeats),
    }


def vectors(kind: Kind, items: int, queries: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return item vectors (n, D) and query vectors (Q, D) of unit length; the same for the same numbers."""
    rng = generator(SEED, "vectors", kind, items, width)
    if kind == "clustered":
        base = rng.standard_normal((min(2_000, items // 10), width), dtype=np.float32)
        parts = [base[rng.integers(len(base), size=count)] for count in (items, queries)]
    else:
        base = rng.standard_normal((min(32, width), width), dtype=np.float32) / np.float32(np.sqrt(min(32, width)))
        parts = [rng.standard_normal((count, len(base)), dtype=np.float32) @ base for count in (items, queries)]
    items_nD, queries_QD = (_unit(part + 0.3 * rng.standard_normal(part.shape, dtype=np.float32)) for part in parts)
    return items_nD, queries_QD


def _unit(vectors_nD: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vectors_nD / np.linalg.norm(vectors_nD, axis=1, keepdims=True), dtype=np.float32)


def _recall(index: Index, exact: Index, query_QD: NDArray[np.float32], depth: int) -> float:
    found, truth = index.search(query_QD, depth), exact.search(query_QD, depth)
    return float(np.mean([np.isin(truth.ids(q), found.ids(q)).mean() for q in range(len(query_QD))]))


def _rates(index: Index, query_QD: NDArray[np.float32], depth: int, repeats: int) -> dict[str, Any]:
    """Return queries per second, one query a call."""

    def ask() -> None:
        for q in range(len(query_QD)):
            index.search(query_QD[q : q + 1], depth)

    return rates(clocked(ask, repeats), len(query_QD))


def _of_a_user(index: Index, query_QD: NDArray[np.float32], repeats: int) -> dict[str, Any]:
    """Return the milliseconds of one call for one user: 12 vectors that share a budget, one vector, 12 in full."""
    users = len(query_QD) // VECTORS_PER_USER
    budget = 10 * VECTORS_PER_USER
    shapes = {
        f"{VECTORS_PER_USER} x {budget // VECTORS_PER_USER}": (VECTORS_PER_USER, budget // VECTORS_PER_USER),
        f"1 x {budget}": (1, budget),
        f"{VECTORS_PER_USER} x {budget}": (VECTORS_PER_USER, budget),
    }

    def ask(count: int, limit: int) -> None:
        for user in range(users):
            first = user * VECTORS_PER_USER
            index.search(query_QD[first : first + count], limit)

    return {
        name: both(clocked(lambda shape=shape: ask(*shape), repeats), 1000 / users)  # type: ignore[misc]
        for name, shape in shapes.items()
    }
