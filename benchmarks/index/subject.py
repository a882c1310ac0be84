"""The inverted index against exact search, as a subject of ``make bench``: recall, rates, build, size, load.

Legend: n items · Q queries · D dimensions.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.child_process import run_in_child
from benchmarks.index.corpus import KINDS, VECTORS_PER_USER, Corpus, Kind, Vectors
from benchmarks.index.engines import build_engine, level
from benchmarks.timing import rates, round_figure, settings, time_calls, wall_and_cpu
from multitudes.index.factory import load_index
from multitudes.index.protocol import Index
from multitudes.progress import Progress


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
            outcome = run_in_child(measure_one, items=items, kind=kind, folder=str(own), **_rest(sizes))
            measured.append(outcome.value | {"peak_mib": round_figure(outcome.peak_mib)})
    return {"settings": settings(sizes), "indexes": measured}


def _rest(sizes: Sizes) -> dict[str, int]:
    return {name: value for name, value in settings(sizes).items() if name != "items"}


def measure_one(
    items: int, kind: Kind, folder: str, width: int, depth: int, queries: int, repeats: int
) -> dict[str, Any]:
    """Build, save, load and search one index."""
    vectors_nD, query_QD = vectors(kind, items, 2 * queries, width)
    ids = np.arange(1, items + 1)
    kept: list[Index] = []
    build = time_calls(lambda: kept.append(build_engine("inverted", ids, vectors_nD, None, query_QD[queries:])), 1)
    exact = build_engine("exact", ids, vectors_nD, None, query_QD[queries:])
    kept[0].save(Path(folder))
    opening = time_calls(lambda: load_index(Path(folder)), repeats)
    index, asked_QD = load_index(Path(folder)), query_QD[:queries]
    info = index.info()
    return {
        "items": items,
        "vectors": kind,
        "tuning": {"lists": info["lists"], "probes": level(info, depth)["effort"]},
        "build_s": wall_and_cpu(build),
        "size_mib": {file.name: round_figure(file.stat().st_size / 2**20) for file in sorted(Path(folder).iterdir())},
        "load_ms": wall_and_cpu(opening, 1000),
        "recall": round_figure(_recall(index, exact, asked_QD, depth)),
        "queries_per_s": _rates(index, asked_QD, depth, repeats),
        "exact_queries_per_s": _rates(exact, asked_QD[: max(24, queries // 10)], depth, 1),
        "user_ms": _user_request_ms(index, asked_QD, repeats),
    }


def vectors(kind: Kind, items: int, queries: int, width: int) -> tuple[Vectors, Vectors]:
    """Return item vectors (n, D) and query vectors (Q, D), those of a user one after the other."""
    corpus = Corpus(kind, items, width)
    users = corpus.users(-(-queries // VECTORS_PER_USER), "asked")
    return np.concatenate(list(corpus.chunks())), users.reshape(-1, width)[:queries]


def _recall(index: Index, exact: Index, query_QD: NDArray[np.float32], depth: int) -> float:
    found, truth = index.search(query_QD, depth), exact.search(query_QD, depth)
    return float(np.mean([np.isin(truth.ids(q), found.ids(q)).mean() for q in range(len(query_QD))]))


def _rates(index: Index, query_QD: NDArray[np.float32], depth: int, repeats: int) -> dict[str, Any]:
    """Return queries per second, one query a call."""

    def ask() -> None:
        for q in range(len(query_QD)):
            index.search(query_QD[q : q + 1], depth)

    return rates(time_calls(ask, repeats), len(query_QD))


def _user_request_ms(index: Index, query_QD: NDArray[np.float32], repeats: int) -> dict[str, Any]:
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
        name: wall_and_cpu(time_calls(lambda shape=shape: ask(*shape), repeats), 1000 / users)  # type: ignore[misc]
        for name, shape in shapes.items()
    }
