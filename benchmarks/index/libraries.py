"""What several vectors of a user cost in other libraries: one search for each, on the same vectors in one run.

::

    pip install hnswlib usearch scann        (beside this project; those that are missing are left out)
    python -m benchmarks.index.libraries [--items 100000]

Every library holds the same items and is asked for the best 200 of one vector of a user, and of all seven that may
bring any item, in one call with one thread. Its effort is the least power of √2 at which the lists of one vector have
.97 of the exact ones, over the vectors of half of the users; the other half is measured. What is done with seven lists
afterwards is not in it.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks import SEED
from benchmarks.index.corpus import KINDS, Corpus, Kind
from benchmarks.index.truth import best, share_found
from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.markdown import format_number, table
from benchmarks.timing import print_progress, round_figure, spread
from multitudes.atomic import write_text
from multitudes.index.factory import IndexConfig, build_index

RESULTS = ROOT / "benchmarks" / "results" / "index-libraries.json"
N, RECALL = 200, 0.97
_WIDTH, _VECTORS, _USERS = 64, 7, 64
_SCALE = np.float32(10)  # temperature 0.1
_EFFORTS = [round(8 * 2 ** (step / 2)) for step in range(18)]  # 8 to 2,896
Vectors = NDArray[np.float32]
Search = Callable[[Vectors, int], NDArray[np.int64]]  # vectors and effort → row numbers (Q, N)


class Library(NamedTuple):
    """A library: the package that it needs, and how an index of items is built and searched."""

    name: str
    package: str
    build: Callable[[Vectors], Search]


def _faiss_ivf(item_nD: Vectors) -> Search:
    lists = _lists(item_nD)
    index: Any = faiss.index_factory(_WIDTH, f"IVF{lists},PQ{_WIDTH}x4fs,RFlat", faiss.METRIC_INNER_PRODUCT)
    index.train(item_nD)
    index.add(item_nD)
    index.k_factor = 3

    def search(vector_QD: Vectors, effort: int) -> NDArray[np.int64]:
        faiss.extract_index_ivf(index).nprobe = min(effort, lists)
        return np.asarray(index.search(vector_QD, N)[1])

    return search


def _faiss_hnsw(item_nD: Vectors) -> Search:
    index: Any = faiss.IndexHNSWFlat(_WIDTH, 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 200
    index.add(item_nD)

    def search(vector_QD: Vectors, effort: int) -> NDArray[np.int64]:
        index.hnsw.efSearch = max(effort, N)
        return np.asarray(index.search(vector_QD, N)[1])

    return search


def _hnswlib(item_nD: Vectors) -> Search:
    index: Any = import_module("hnswlib").Index(space="ip", dim=_WIDTH)
    index.init_index(max_elements=len(item_nD), ef_construction=200, M=32)
    index.set_num_threads(1)
    index.add_items(item_nD, num_threads=1)

    def search(vector_QD: Vectors, effort: int) -> NDArray[np.int64]:
        index.set_ef(max(effort, N))
        return np.asarray(index.knn_query(vector_QD, k=N, num_threads=1)[0]).astype(np.int64)

    return search


def _usearch(item_nD: Vectors) -> Search:
    index: Any = import_module("usearch.index").Index(ndim=_WIDTH, metric="ip", connectivity=32, expansion_add=200)
    index.add(np.arange(len(item_nD)), item_nD, threads=1)

    def search(vector_QD: Vectors, effort: int) -> NDArray[np.int64]:
        index.expansion_search = max(effort, N)
        found = index.search(vector_QD, N, threads=1)
        return np.asarray(found.keys).astype(np.int64).reshape(len(vector_QD), -1)

    return search


def _scann(item_nD: Vectors) -> Search:
    builder = import_module("scann").scann_ops_pybind.builder(item_nD, N, "dot_product")
    leaves = _lists(item_nD)
    searcher = builder.tree(leaves, 50, training_sample_size=len(item_nD)).score_ah(2).reorder(3 * N).build()

    def search(vector_QD: Vectors, effort: int) -> NDArray[np.int64]:
        found, _ = searcher.search_batched(vector_QD, leaves_to_search=min(effort, leaves))
        return np.asarray(found).astype(np.int64)

    return search


LIBRARIES = (
    Library("FAISS, inverted lists of codes", "faiss-cpu", _faiss_ivf),
    Library("FAISS, HNSW", "faiss-cpu", _faiss_hnsw),
    Library("hnswlib", "hnswlib", _hnswlib),
    Library("usearch", "usearch", _usearch),
    Library("ScaNN", "scann", _scann),
)


def measure(kind: Kind, items: int, rounds: int) -> dict[str, Any]:
    """Return the figures of each library that is installed."""
    circumstances, corpus = MeasurementContext(), Corpus(kind, items, _WIDTH)
    item_nD = np.concatenate(list(corpus.chunks()))
    tuning, asked = (corpus.users(_USERS, group)[:, :_VECTORS] * _SCALE for group in ("tuning", "asked"))
    wanted = {name: best(group[:, 0], item_nD, N) for name, group in (("tuning", tuning), ("asked", asked))}
    rows = []
    for library in LIBRARIES:
        try:
            version = metadata.version(library.package)
        except metadata.PackageNotFoundError:
            continue
        print(f"{items:,} {kind}: {library.name}", flush=True)
        search = library.build(item_nD)
        effort = next(
            (one for one in _EFFORTS if _recall(search(tuning[:, 0], one), wanted["tuning"]) >= RECALL),
            _EFFORTS[-1],
        )
        one, all_of_them = (
            _cpu_ms([user[:count] for user in asked], lambda vectors: search(vectors, effort), rounds)  # noqa: B023
            for count in (1, _VECTORS)
        )
        recall = round_figure(_recall(search(asked[:, 0], effort), wanted["asked"]))
        rows.append(
            {
                "name": library.name,
                "version": version,
                "effort": effort,
                "recall": recall,
                "one": one,
                "all": all_of_them,
            }
        )
    rows.append(_multitudes(item_nD, tuning, asked, wanted["asked"], rounds))
    return {"kind": kind, "items": items, "users": _USERS, "rounds": rounds, "seeds": [SEED]} | {
        **circumstances.head(("multitudes", "numpy", "faiss-cpu")),
        "libraries": rows,
    }


def _multitudes(
    item_nD: Vectors, tuning: Vectors, asked: Vectors, wanted_QN: NDArray[np.int32], rounds: int
) -> dict[str, Any]:
    """Return the figures of this library."""
    index = build_index(
        np.arange(len(item_nD)),
        item_nD,
        IndexConfig(kind="inverted"),
        queries=tuning.reshape(-1, _WIDTH),
        progress=print_progress("build"),
    )
    one, all_of_them = (
        _cpu_ms([user[:count] for user in asked], lambda vectors: index.search(vectors, N), rounds)
        for count in (1, _VECTORS)
    )
    found = [index.search(user[:1], N).ids(0) for user in asked]
    recall = round_figure(_recall(found, wanted_QN))
    version = metadata.version("multitudes")
    return {"name": "multitudes", "version": version, "recall": recall, "one": one, "all": all_of_them}


def _recall(found: Sequence[NDArray[np.int64]] | NDArray[np.int64], wanted_QN: NDArray[np.int32]) -> float:
    return float(share_found(list(found), list(wanted_QN)).mean())


def _lists(item_nD: Vectors) -> int:
    """Return the number of inverted lists, as this library chooses it."""
    return int(2 ** round(np.log2(2 * np.sqrt(len(item_nD)))))


def _cpu_ms(users: Sequence[Vectors], search: Callable[[Vectors], object], rounds: int) -> dict[str, float]:
    """Return the processor time of a request of a user, in milliseconds: the median of the users, over rounds."""
    medians = []
    for _ in range(rounds + 1):
        taken = []
        for vectors in users:
            began = time.process_time()
            search(vectors)
            taken.append(1000 * (time.process_time() - began))
        medians.append(float(np.median(taken)))
    return spread(medians[1:])  # the first round warms up


def section(records: Sequence[dict[str, Any]]) -> list[str]:
    """Return the section of records/index.md; no lines without records."""
    if not records:
        return []
    rows = [
        [
            f"{record['items']:,} {record['kind']}",
            f"{one['name']} {one['version']}",
            f"{one['recall']:.3f}",
            format_number(one["one"]["median"]),
            format_number(one["all"]["median"]),
            format_number(one["all"]["median"] / one["one"]["median"]),
        ]
        for record in records
        for one in record["libraries"]
    ]
    head = ["corpus", "library", "recall of one", "CPU ms of one vector", f"of {_VECTORS}", "÷ one"]
    return [
        "## Several vectors in other libraries",
        "",
        f"The best {N} of one vector, and of {_VECTORS} vectors of a user in one call, one thread; each library at the"
        f" least effort with a recall of {RECALL} for one vector. Measured by `python -m benchmarks.index.libraries`"
        f" (load {', '.join(str(record['load']['after']) for record in records)}; commits"
        f" {', '.join(str(record['versions'].get('commit')) for record in records)}).",
        "",
        *table(head, rows),
    ]


def main() -> None:
    """Measure and keep the records."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.index.libraries", description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    faiss.omp_set_num_threads(1)
    records = [measure(kind, given.items, given.rounds) for kind in KINDS]
    write_text(given.out, json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
