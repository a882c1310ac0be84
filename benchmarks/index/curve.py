"""Recall against time: the same requests with more and more effort, ours beside FAISS's own index of the usual make.

The usual make is ``IVFn,SQ8`` with as many lists. Both are asked for so many results and believed: no proposals to
spare, no ranking by the full vectors.

Legend: n items · K vectors of a request · D dimensions · M results.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.index import clock
from benchmarks.index.clock import Way
from benchmarks.index.corpus import Vectors
from benchmarks.index.truth import Ids
from benchmarks.index.world import DEPTH, World
from benchmarks.timing import print_progress
from multitudes.index.approximate import ApproximateIndex
from multitudes.index.engine import Level, StoredEngine, tuning_from_record
from multitudes.index.files import load_item_table, read_description
from multitudes.index.inverted import InvertedLists
from multitudes.index.live import LiveIndex

_USERS = 60  # of 12 vectors each: enough for a point
_EFFORTS = {"inverted": (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384)}
_ENOUGH = 0.995  # recall at which a curve ends
_POINTS_PER_LIST = 64


def measure(world: str, index: str, engine: str, users: int) -> dict[str, Any]:
    """Return for each effort the figures of a request, ours and FAISS's."""
    made, folder = World.open(Path(world)), Path(index)
    users = min(users, _USERS)
    info = read_description(folder)
    ours_at, spare = _at_level(folder), _proposals(info)
    theirs = _usual(made.item_nD, info["lists"])
    wanted = [list(made.best_of(user)[:, :DEPTH]) for user in range(users)]
    points: dict[str, list[dict[str, Any]]] = {"ours": [], "faiss": []}
    progress = print_progress(f"{engine}: curve")
    for place, effort in enumerate(_EFFORTS[engine]):
        progress(place, len(_EFFORTS[engine]), "efforts")
        ours = ours_at(Level(DEPTH, effort, spare, 0, 0, 0))
        ways: dict[str, Way] = {
            "ours": lambda user: ours.search(made.user_BKD[user], DEPTH),  # noqa: B023 (called in this turn)
            "faiss": lambda user: theirs(made.user_BKD[user], effort),  # noqa: B023
        }
        for name, timed in clock.time_ways(ways, users, 1).items():
            points[name].append({"effort": effort, **clock.figures(timed, wanted)})
        if min(each[-1]["recall"] for each in points.values()) >= _ENOUGH:
            break
    return points


def _at_level(folder: Path) -> Callable[[Level], LiveIndex]:
    """Return how a saved index becomes one that knows a single level, and searches every request at it."""
    rows, tuning = load_item_table(folder), tuning_from_record(read_description(folder)["tuning"])
    stored: StoredEngine = InvertedLists(faiss.read_index(str(folder / InvertedLists.file)))
    return lambda level: LiveIndex(ApproximateIndex(rows, stored, tuning._replace(levels=(level,))))


def _proposals(info: dict[str, Any]) -> int:
    """Return with how many proposals an index searches for ``DEPTH`` results; one that scans has no level as deep."""
    levels: list[dict[str, int]] = info["tuning"]["levels"]
    return next((level["proposals"] for level in levels if level["depth"] >= DEPTH), DEPTH)


def _usual(item_nD: Vectors, lists: int) -> Callable[[Vectors, int], Ids]:
    """Return a search for ``DEPTH`` results of each vector with an effort: ids (K, M), filled with 0."""
    index: Any = faiss.index_factory(item_nD.shape[1], f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    sample = np.linspace(0, len(item_nD) - 1, min(len(item_nD), _POINTS_PER_LIST * lists)).astype(np.int64)
    index.cp.min_points_per_centroid = 1
    index.train(item_nD[sample])
    for part_nD in _parts(item_nD):
        index.add(part_nD)
    faiss.omp_set_num_threads(1)

    def search(query_KD: Vectors, effort: int) -> Ids:
        index.nprobe = effort
        return np.asarray(index.search(query_KD, DEPTH)[1] + 1)

    return search


def _parts(item_nD: Vectors, size: int = 100_000) -> Iterator[Vectors]:
    for start in range(0, len(item_nD), size):
        yield np.ascontiguousarray(item_nD[start : start + size])
