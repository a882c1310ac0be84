"""Latency of one request: a single vector against several vectors at the same N.

Both releases answer the same users in turn, so that other load on the machine affects both equally. CPU time is
recorded too, since it is more reliable on a busy machine. The list of several vectors is divided by the default shares
and among tastes, whatever so short a training would choose; that of the single vector is not divided.

Legend: R rounds · C clocks (wall, processor) · M methods · Q requests.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import SEED
from benchmarks.profiling import TimedFunction, profile
from benchmarks.timing import round_figure, settings, spread, time_calls, wall_and_cpu
from benchmarks.worlds import prepare_movielens, prepare_planted, train_with_defaults
from multitudes.data.planted import PlantedConfig
from multitudes.data.prepared import PreparedData
from multitudes.ids import Id
from multitudes.index.live import LiveIndex
from multitudes.nn.methods import Method
from multitudes.progress import Progress
from multitudes.publishing.publish import publish
from multitudes.retrieval import blend, retriever, search, user_vectors
from multitudes.retrieval.config import DEFAULT_CALIBRATION, DEFAULT_SHARES, RetrieveConfig, with_shares
from multitudes.retrieval.response import RecommendationBuilder
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.user_context import UserContextBuilder
from multitudes.seeding import generator

METHODS: tuple[Method, ...] = ("single", "joint")
RETRIEVE: dict[Method, RetrieveConfig] = {
    "single": RetrieveConfig(calibration=0.0),
    "joint": with_shares(RetrieveConfig(calibration=DEFAULT_CALIBRATION), DEFAULT_SHARES),
}
PERCENTILES = (50, 90, 99)
Milliseconds = NDArray[np.float64]
PARTS = (
    TimedFunction("history", UserContextBuilder, "from_release"),
    TimedFunction("tower", user_vectors, "user_vectors"),
    TimedFunction("draw and divide", user_vectors, "draw_conditions"),
    TimedFunction("draw and divide", search, "vector_shares"),
    TimedFunction("calibration", retriever, "with_tastes"),
    TimedFunction("calibration", search, "_calibrate"),
    TimedFunction("calibration", search, "_owners"),
    TimedFunction("search", LiveIndex, "search"),
    TimedFunction("blend", blend, "merge_lists"),
    TimedFunction("candidates and who found them", search, "_found_by"),
    TimedFunction("candidates and who found them", search, "add_popular"),
    TimedFunction("objects", RecommendationBuilder, "build"),
)


class Sizes(NamedTuple):
    """The data, the size of the planted world, the requests, and how often they are repeated."""

    data: tuple[str, ...]
    users: int
    items: int
    events: int
    requests: int
    rounds: int
    n: int


FULL = Sizes(
    data=("MovieLens-small", "planted"), users=2_000, items=100_000, events=200_000, requests=400, rounds=5, n=100
)
QUICK = Sizes(data=("planted",), users=30, items=300, events=1_000, requests=10, rounds=2, n=20)


def measure(sizes: Sizes, folder: Path, progress: Progress) -> dict[str, Any]:
    """Return latencies on MovieLens-small and on a planted world."""
    world = PlantedConfig(
        users=sizes.users, items=sizes.items, events=sizes.events, niches=sizes.items // 100 + 10, topics=50, seed=SEED
    )
    measured: list[dict[str, Any]] = []
    for name in sizes.data:
        progress(len(measured), len(sizes.data), name)
        prepared = prepare_planted(folder / name, world) if name == "planted" else prepare_movielens(folder / name)
        measured.append({"data": name, **_compare_methods(prepared, sizes)})
    return {"settings": settings(sizes), "worlds": measured}


def _compare_methods(prepared: PreparedData, sizes: Sizes) -> dict[str, Any]:
    releases = {method: _publish_release(prepared, method) for method in METHODS}
    drawn = generator(SEED, "requests").permutation(prepared.n_users)[: sizes.requests]
    user_ids: list[Id] = prepared.user_ids[np.sort(drawn)].to_list()
    opened = {method: time_calls(lambda path=path: Retriever.open(path), 3) for method, path in releases.items()}  # type: ignore[misc]
    retrievers = {method: Retriever.open(path) for method, path in releases.items()}
    first = {
        method: time_calls(lambda asked=asked: asked.recommend(user_ids[0], n=sizes.n), 1).wall[0]  # type: ignore[misc]
        for method, asked in retrievers.items()
    }
    ms_RCMQ = 1000 * np.array([_round(retrievers, user_ids, sizes.n) for _ in range(sizes.rounds)])
    wall_MRQ, cpu_MRQ = ms_RCMQ.transpose(1, 2, 0, 3)
    return {
        "users": prepared.n_users,
        "items": prepared.n_items,
        "requests": len(user_ids),
        "index": retrievers["joint"].release.index.info(),
        "open_ms": {method: wall_and_cpu(readings, 1000) for method, readings in opened.items()},
        "first_ms": {method: round_figure(1000 * seconds) for method, seconds in first.items()},
        "ms": {method: _percentiles(wall_MRQ[m]) for m, method in enumerate(METHODS)},
        "cpu_ms": {method: _percentiles(cpu_MRQ[m]) for m, method in enumerate(METHODS)},
        "joint_over_single": {"ms": _ratios(wall_MRQ), "cpu_ms": _ratios(cpu_MRQ)},
        "parts_ms": {method: _parts(asked, user_ids, sizes.n) for method, asked in retrievers.items()},
    }


def _publish_release(prepared: PreparedData, method: Method) -> Path:
    folder = prepared.path.parent / f"releases-{method}"
    publish(train_with_defaults(prepared, method, epochs=1, seed=SEED).path, folder, retrieve=RETRIEVE[method])
    return folder


def _round(retrievers: dict[Method, Retriever], user_ids: list[Id], n: int) -> list[list[list[float]]]:
    """Recommend to every user from each release in turn; return seconds of wall and CPU time, by method and user."""
    wall: list[list[float]] = [[] for _ in METHODS]
    cpu: list[list[float]] = [[] for _ in METHODS]
    for user_id in user_ids:
        for m, method in enumerate(METHODS):
            began, cpu_began = time.perf_counter(), time.thread_time()
            retrievers[method].recommend(user_id, n=n)
            cpu[m].append(time.thread_time() - cpu_began)
            wall[m].append(time.perf_counter() - began)
    return [wall, cpu]


def _percentiles(ms_RQ: Milliseconds) -> dict[str, Any]:
    """Return percentiles over requests, each with its spread over the rounds."""
    return {f"p{p}": spread(np.percentile(ms_RQ, p, axis=1).tolist()) for p in PERCENTILES}


def _ratios(ms_MRQ: Milliseconds) -> dict[str, Any]:
    """Return joint to single at each percentile, with its spread over the rounds."""
    single, joint = (ms_MRQ[METHODS.index(name)] for name in ("single", "joint"))
    return {
        f"p{p}": spread((np.percentile(joint, p, axis=1) / np.percentile(single, p, axis=1)).tolist())
        for p in PERCENTILES
    }


def _parts(asked: Retriever, user_ids: list[Id], n: int) -> dict[str, float]:
    """Return the mean milliseconds of each part of a request."""
    with profile(PARTS) as stopwatch:
        total_s = time_calls(lambda: [asked.recommend(user_id, n=n) for user_id in user_ids], 1).wall[0]
    mean_ms = 1000 * total_s / len(user_ids)
    return {part: round_figure(share * mean_ms) for part, share in stopwatch.shares(total_s).items()}
