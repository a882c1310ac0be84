"""Hits of trained runs by one search for the mixture and by one for each vector, in the exact and the inverted index.

::

    python -m benchmarks.index.hits NAME=RUN...

The validation users of a run ask for 100 unseen items each, with the settings that the run is served with. Inverted
lists are built whatever the number of items, and tuned on some of the users; the others ask.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import SEED
from benchmarks.index.mixture import EachVector
from benchmarks.index.runs import parse_run
from benchmarks.index.truth import share_found
from benchmarks.machine import ROOT, versions
from benchmarks.markdown import table
from benchmarks.timing import round_figure
from multitudes.atomic import write_text
from multitudes.batches.held_out import HeldOut, held_out_users, select_targets, select_users
from multitudes.evaluation.scorer import catalogue, user_vectors
from multitudes.evaluation.targets import seen_items
from multitudes.index.factory import IndexConfig, build_embedded
from multitudes.index.item_table import select_topics
from multitudes.index.live import LiveIndex
from multitudes.metrics.bootstrap import bootstrap_ratios
from multitudes.publishing.corpus import tuning_users
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.search import find_candidates
from multitudes.seeding import generator
from multitudes.training.runs import Run, open_run

RESULTS = ROOT / "benchmarks" / "results" / "index-hits.json"
N, TUNING_USERS, RESAMPLES = 100, 200, 2_000
EXACT, EXACT_EACH = "exact, one search", "exact, each vector"
INVERTED, INVERTED_EACH = "inverted, one search", "inverted, each vector"
_DIFFERENCES = ((EXACT, EXACT_EACH), (INVERTED, INVERTED_EACH), (INVERTED, EXACT))
_TEXT = """HR@100 of first-time targets, validation, by one search for the mixture; differences to a search for each
vector and to the exact index, with their intervals (95 %, paired by user); and how much of the exact list of the
mixture a search of the inverted lists finds. Settings are those that the run is served with. Inverted lists are built
whatever the number of items, and tuned on 200 users; the others ask. Measured by `python -m benchmarks.index.hits
NAME=RUN…`.
"""


def measure(run: str) -> dict[str, Any]:
    """Return the figures of one run."""
    trained = open_run(run)
    held = held_out_users(trained.prepared, "validation")
    held = select_targets(held, held.target_is_first_time)
    tuning_B = np.isin(np.arange(len(held)), generator(SEED, "index", "hits").permutation(len(held))[:TUNING_USERS])
    tuning, asked = (select_users(held, np.flatnonzero(own_B)) for own_B in (tuning_B, ~tuning_B))
    config = with_run_defaults(RetrieveConfig(), trained.shares, trained.blend, trained.shares_by_history)
    items = catalogue(trained, trained.item_vectors())
    assert isinstance(items.index, LiveIndex), "an exact one"
    inverted = _inverted(trained, items, tuning, config)
    assert inverted.has_mixture, "the lists were good enough"
    vectors, seen = user_vectors(trained, asked, config), seen_items(trained.prepared, asked)
    found = {
        name: [
            one.item_N
            for one in find_candidates(vectors, Catalogue(index, items.item_count), N, seen, config, found_by=False)
        ]
        for name, index in (
            (EXACT, items.index),
            (EXACT_EACH, EachVector(items.index.segment)),
            (INVERTED, inverted),
            (INVERTED_EACH, EachVector(inverted.segment)),
        )
    }
    targets_B = np.diff(asked.target_offset).astype(np.float64)
    hits_BM = np.stack([_hits(lists, asked) for lists in found.values()], axis=1)
    targets_BM = np.repeat(targets_B[:, None], len(found), axis=1)
    rates = bootstrap_ratios(hits_BM, targets_BM, RESAMPLES, generator(SEED, "index", "hits", "bootstrap"))
    ways = {
        name: {
            "hit_rate": round_figure(float(rates.value_M[m])),
            "overlap": round_figure(float(share_found(lists, found[EXACT]).mean())),
        }
        for m, (name, lists) in enumerate(found.items())
    }
    names = list(found)
    changes = {
        f"{way} − {base}": [round_figure(bound) for bound in rates.difference(names.index(way), names.index(base))]
        for way, base in _DIFFERENCES
    }
    return {
        "method": trained.config.method,
        "items": len(items.index),
        "users": len(asked),
        "targets": int(targets_B.sum()),
        "ways": ways,
        "changes": changes,
    }


def _inverted(run: Run, items: Catalogue, tuning: HeldOut, config: RetrieveConfig) -> LiveIndex:
    """Return the inverted lists of a run's items, built as a release of many items builds them."""
    prepared, ids = run.prepared, items.index.ids()
    vectors = user_vectors(run, tuning, config)
    return build_embedded(
        ids,
        items.index.vectors(ids),
        IndexConfig(kind="inverted"),
        topics=select_topics(prepared.item_topic_offset, prepared.item_topic, ids),
        queries=vectors.vectors_BKD[vectors.mask_BK],
        users=tuning_users(vectors, seen_items(prepared, tuning), config),
    )


def _hits(lists: Sequence[NDArray[np.int64]], asked: HeldOut) -> NDArray[np.float64]:
    targets = np.split(asked.target, asked.target_offset[1:-1])
    return np.array([np.isin(wanted, own).sum() for own, wanted in zip(lists, targets, strict=True)], dtype=np.float64)


def section(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the section of docs/index-figures.md; no lines without records."""
    if not records:
        return []
    differences = list(records[0]["changes"])
    head = ["run, method", "items", "users", EXACT, *differences, "found", "found by each"]
    rows = []
    for record in records:
        ways, changes = record["ways"], record["changes"]
        cells = [f"{ways[EXACT]['hit_rate']:.4f}", *(_interval(changes[name]) for name in differences)]
        cells += [f"{ways[way]['overlap']:.3f}" for way in (INVERTED, INVERTED_EACH)]
        rows.append([f"{record['name']}, {record['method']}", f"{record['items']:,}", f"{record['users']:,}", *cells])
    return ["## Hits of trained runs", "", _TEXT, *table(head, rows), ""]


def _interval(bounds: Sequence[float]) -> str:
    mean, low, high = bounds
    return f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"


def main() -> None:
    """Measure each run, and keep its record in place of an earlier one of the name."""
    if len(sys.argv) < 2:
        sys.exit(str(__doc__))
    records = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    for name, run in map(parse_run, sys.argv[1:]):
        print(name, file=sys.stderr, flush=True)
        new = {"name": name, **measure(str(run)), "versions": versions(), "seeds": [SEED]}
        records = [old for old in records if old["name"] != name] + [new]
        write_text(RESULTS, json.dumps(records, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
