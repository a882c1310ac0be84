"""``python -m benchmarks.index.tried NAME``: the small experiments that docs/index.md speaks of, one at a time.

They need the world and the inverted index that ``python -m benchmarks.index --parts build`` leaves behind. Times are
processor milliseconds of one thread, the median over users, variants in turn.

Legend: K vectors of a user · P probed lists · L lists · D dimensions · M candidates.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.index.clock import Way, answer, time_ways
from benchmarks.index.requests import shared_limits
from benchmarks.index.truth import share_found
from benchmarks.index.world import EXCLUDED, World, first_distinct, topic_of
from benchmarks.machine import ROOT
from benchmarks.timing import round_figure, time_calls
from multitudes.index import inverted
from multitudes.index.engine import DEFAULT_TARGET, ExcludedRows, Level, QueryLevels, tuning_from_record
from multitudes.index.exact import ExactIndex
from multitudes.index.factory import load_index
from multitudes.index.files import checksum, read_description
from multitudes.index.inverted import FAISS_FILE, InvertedLists
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import ANY_TOPIC, Searchable, sort_keys

Figures = dict[str, float]
_SHARED, _ALONE, _EACH = 17, 200, 100  # results: of 12 vectors that divide 200, of one, of each of 12
_FUSED, _OF_TOPIC = (310, 70, 70, 70, 70), 16  # of the vectors of a user for a list of 100, and of each topic
_DEPTHS = (500, 300, 180, 120, 90, 70, 50)  # of the vectors of a request that shares its places by weight
_SORTED = (12, 722)  # queries and candidates of each
_ROUNDS, _LOADS = 3, 21
_LISTS_OF_ROOT = (0.5, 1, 2, 4)  # times the root of the items


def union(world: World, folder: Path) -> Figures:
    """Count the lists that the vectors of a user probe together, and those of one vector of as many results."""
    levels = tuning_from_record(read_description(folder)["tuning"]).levels
    of_all, of_one = (_deep_enough(levels, depth).effort for depth in (_SHARED, _ALONE))
    stored: Any = faiss.read_index(str(folder / FAISS_FILE))
    centroid_LD = stored.quantizer.reconstruct_n(0, stored.nlist)
    together = []
    for vectors_KD in world.user_BKD:
        list_KP = np.argpartition(-(vectors_KD @ centroid_LD.T), of_all, axis=1)[:, :of_all]
        together.append(len(np.unique(list_KP)))
    return {"together": float(np.mean(together)), "each": of_all, "one": of_one}


def selector(world: World, folder: Path) -> Figures:
    """Time the search of the lists with the user's best thousand left out, and with nothing left out."""
    tuning = tuning_from_record(read_description(folder)["tuning"])
    engine = InvertedLists(faiss.read_index(str(folder / FAISS_FILE)))
    query_levels = QueryLevels.from_levels([_deep_enough(tuning.levels, _EACH)] * world.user_BKD.shape[1])
    among = [
        ExcludedRows(np.zeros(0, dtype=np.int64), len(world.item_nD))
        .with_rows(np.sort(first_distinct(world.best_of(user), EXCLUDED) - 1))
        .allowed_bits
        for user in range(len(world.user_BKD))
    ]
    return _medians(
        {
            "all": lambda user: engine.propose(world.user_BKD[user], query_levels, query_levels.proposals_Q),
            "but a thousand": lambda user: engine.propose(
                world.user_BKD[user], query_levels, query_levels.proposals_Q, among[user]
            ),
        },
        len(world.user_BKD),
    )


def levels(world: World, folder: Path) -> Figures:
    """Time the search of vectors that are searched to several depths, in one call and in one for each level."""
    tuning = tuning_from_record(read_description(folder)["tuning"])
    engine, place_Q = (
        InvertedLists(faiss.read_index(str(folder / FAISS_FILE))),
        tuning.level_positions(np.minimum(_DEPTHS, tuning.levels[-1].depth)),
    )
    apart = [np.flatnonzero(place_Q == place) for place in set(place_Q.tolist())]

    def proposed(user: int, calls: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        by_way = [QueryLevels.from_levels([tuning.levels[place] for place in place_Q[where]]) for where in calls]
        return [
            engine.propose(world.user_BKD[user, where], query_levels, query_levels.proposals_Q)
            for where, query_levels in zip(calls, by_way, strict=True)
        ]

    ways: dict[str, Way] = {
        "one call": lambda user: proposed(user, [np.arange(len(_DEPTHS))])[0],
        "one for each level": lambda user: proposed(user, apart)[0],
    }
    return _medians(ways, len(world.user_BKD))


def scans(world: World, folder: Path) -> Figures:
    """Time the search of several vectors list by list, and of one after the other, its nearest lists first."""
    tuning = tuning_from_record(read_description(folder)["tuning"])
    engine = InvertedLists(faiss.read_index(str(folder / FAISS_FILE)))
    deepest = tuning.levels[-1].depth
    by_way = {
        name: tuning.levels_for(np.minimum(depths, deepest))
        for name, depths in (("fused", _FUSED), ("12 x 100", [_EACH] * world.user_BKD.shape[1]))
    }

    def propose(query_levels: QueryLevels, user: int, first: int = 0) -> NDArray[np.int64]:
        return engine.propose(
            world.user_BKD[user, first : first + len(query_levels.depth_Q)], query_levels, query_levels.proposals_Q
        )

    def propose_in_turn(query_levels: QueryLevels, user: int) -> NDArray[np.int64]:
        alone = [QueryLevels(*(column[k : k + 1] for column in query_levels)) for k in range(len(query_levels.depth_Q))]
        return [propose(own, user, k) for k, own in enumerate(alone)][-1]

    ways: dict[str, Way] = {}
    for name, query_levels in by_way.items():
        ways |= {
            f"{name}, together": partial(propose, query_levels),
            f"{name}, in turn": partial(propose_in_turn, query_levels),
        }
    return _medians(ways, len(world.user_BKD))


def fusion(world: World, folder: Path) -> Figures:
    """Time what a list from the proposals of several vectors asks for, beside one vector, and return its recall."""
    index, free = load_index(folder), len(_FUSED)
    topics = [*(topic_of("1 %", user) for user in range(4)), topic_of("1 % correlated", 0)]
    limit_K, topic_K = np.array([*_FUSED, *[_OF_TOPIC] * len(topics)]), np.array([ANY_TOPIC] * free + topics)
    user_BKD = world.user_BKD
    ways: dict[str, Way] = {
        "1 x 110": lambda user: index.search(user_BKD[user, :1], 110),
        "without topics": lambda user: index.search(user_BKD[user, :free], limit_K[:free]),
        "all": lambda user: index.search(user_BKD[user, : len(limit_K)], limit_K, topic_Q=topic_K),
    }
    timings = time_ways(ways, len(user_BKD), _ROUNDS)
    shares = [
        share_found(answer(found), [ids[:limit] for ids, limit in zip(world.best_of(user), _FUSED, strict=False)])
        for user, found in enumerate(timings["without topics"].found)
    ]
    return {name: float(np.median(one.cpu_RB)) for name, one in timings.items()} | {"recall": float(np.mean(shares))}


def sort(world: World, folder: Path) -> Figures:
    """Time the order of candidates: as one integer each, and by NumPy's order of floats."""
    del folder
    rng = np.random.default_rng(0)
    row_KM = np.sort(rng.integers(0, len(world.item_nD), _SORTED), axis=1)
    score_KM = rng.standard_normal(_SORTED, dtype=np.float32)
    return _medians(
        {
            "integers": lambda _: sort_keys(row_KM, score_KM, row_KM < 0),
            "floats": lambda _: np.argsort(-score_KM, axis=1, kind="stable"),
        },
        len(world.user_BKD),
    )


def opening(world: World, folder: Path) -> Figures:
    """Time what opening an index consists of."""
    del world
    parts: dict[str, Callable[[], object]] = {
        "all": lambda: load_index(folder),
        "checksums": lambda: [checksum(file) for file in folder.iterdir()],
        "codes": lambda: faiss.read_index(str(folder / FAISS_FILE)),
    }
    return {name: 1000 * float(np.median(time_calls(part, _LOADS).cpu)) for name, part in parts.items()}


def lists(world: World, folder: Path) -> Figures:
    """Time a shared budget and one vector with fewer and more lists, each number tuned to the same recall."""
    del folder
    promise, divided, ways = DEFAULT_TARGET._replace(deepest=_ALONE), shared_limits(), dict[str, Way]()
    for of_root in _LISTS_OF_ROOT:
        count = 2 ** round(np.log2(of_root * len(world.item_nD) ** 0.5))
        index = inverted.build(world.ids(), world.item_nD, queries=world.tuning_QD, lists=count, target=promise)
        ways[f"{count}, shared"] = _search_way(index, world.user_BKD, divided)
        ways[f"{count}, one"] = _search_way(index, world.user_BKD[:, :1], np.full(1, _ALONE))
    return _medians(ways, len(world.user_BKD))


def thresholds(world: World, folder: Path) -> Figures:
    """Count the lists of a vector by which as many of the best items are found, chosen in several ways."""
    stored: Any = faiss.read_index(str(folder / FAISS_FILE))
    centroid_LD = stored.quantizer.reconstruct_n(0, stored.nlist)
    score_QL = world.user_BKD.reshape(-1, world.user_BKD.shape[2]) @ centroid_LD.T
    best_QM = world.best_QM[:, :_SHARED]
    list_QM = stored.quantizer.assign(np.ascontiguousarray(world.item_nD[best_QM.ravel()]), 1).reshape(best_QM.shape)
    below_QL = np.argsort(np.argsort(score_QL, axis=1), axis=1)
    deviation_Q1 = score_QL.std(axis=1, keepdims=True)

    def probed(value_QL: NDArray[Any]) -> float:
        least = np.quantile(np.take_along_axis(value_QL, list_QM, axis=1), 1 - DEFAULT_TARGET.recall)
        return float((value_QL >= least).sum(axis=1).mean())

    return {
        "as many for each": probed(below_QL),
        "so near the best": probed(score_QL - score_QL.max(axis=1, keepdims=True)),
        "so far above the mean": probed((score_QL - score_QL.mean(axis=1, keepdims=True)) / deviation_Q1),
    }


def bytes_of_all(world: World, folder: Path) -> Figures:
    """Time a scan of every item by codes of a byte for each dimension, beside the search of the lists and exact search.

    Codes take a quarter of the memory of the vectors. The scan is FAISS's alone, without what ranks its results again.
    """
    codes = faiss.IndexScalarQuantizer(
        world.item_nD.shape[1], faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    codes.train(world.item_nD)
    codes.add(world.item_nD)
    index, exact = load_index(folder), LiveIndex(ExactIndex.build(world.ids(), world.item_nD))
    alone, each = np.full(1, _ALONE), np.full(world.user_BKD.shape[1], _EACH)
    return _medians(
        {
            "bytes, 12 x 100": lambda user: codes.search(world.user_BKD[user], 2 * _EACH)[1],
            "bytes, 1 x 200": lambda user: codes.search(world.user_BKD[user, :1], 2 * _ALONE)[1],
            "lists, 12 x 100": _search_way(index, world.user_BKD, each),
            "lists, 1 x 200": _search_way(index, world.user_BKD[:, :1], alone),
            "exact, 12 x 100": _search_way(exact, world.user_BKD, each),
            "exact, 1 x 200": _search_way(exact, world.user_BKD[:, :1], alone),
        },
        len(world.user_BKD),
    )


EXPERIMENTS: dict[str, Callable[[World, Path], Figures]] = {
    "union": union,
    "selector": selector,
    "levels": levels,
    "scans": scans,
    "fusion": fusion,
    "sort": sort,
    "opening": opening,
    "lists": lists,
    "thresholds": thresholds,
    "bytes": bytes_of_all,
}


def _search_way(index: Searchable, user_BKD: NDArray[np.float32], limit_K: NDArray[np.int64]) -> Way:
    return lambda user: index.search(user_BKD[user], limit_K)


def _medians(ways: dict[str, Way], users: int) -> Figures:
    return {name: float(np.median(one.cpu_RB)) for name, one in time_ways(ways, users, _ROUNDS).items()}


def _deep_enough(levels: tuple[Level, ...], depth: int) -> Level:
    return next(level for level in levels if level.depth >= depth)


def main() -> None:
    """Make an experiment and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.index.tried", description="A small experiment.")
    parser.add_argument("name", choices=list(EXPERIMENTS))
    parser.add_argument(
        "--world",
        type=Path,
        default=ROOT / ".bench-index" / "latent-1000000x64",
        help="folder that make bench-index made",
    )
    given = parser.parse_args()
    figures = EXPERIMENTS[given.name](World.open(given.world), given.world / "inverted")
    print(json.dumps({name: round_figure(value) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
