"""``python -m benchmarks.proposals RUN [SPLIT]``: what a list loses if the vectors with small shares propose less.

A vector proposes its share of 6 N items and at least ``least`` N (1 is the default), or the ``vectors`` with the
largest shares propose alone. Printed are the proposals of a user, hits and interests served, each with the difference
to the first line and its 95 % interval over users, and the agreement of the lists.
"""

import sys
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import held_out_users, seen_items
from multitudes.evaluation.list_metrics import ItemFacts
from multitudes.evaluation.outcomes import Measures, list_measures
from multitudes.evaluation.system_search import ranked_lists
from multitudes.evaluation.targets import subsample, targets_of_kind
from multitudes.linear.reference_clusters import ReferenceClusters
from multitudes.metrics.bootstrap import bootstrap_ratios
from multitudes.retrieval import allocation, search
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.scorer import catalogue, user_vectors
from multitudes.seeding import generator
from multitudes.training.trained_run import TrainedRun

ALL = 99
POLICIES = ((1.0, ALL), (0.5, ALL), (0.25, ALL), (0.0, ALL), (1.0, 6), (1.0, 4), (1.0, 1))  # least, vectors
_USERS, _AT_ONCE = 1200, 128
_TIMES = 6  # proposals of all vectors together, times N


def main() -> None:
    """Print a line for each length of list and each policy."""
    run, split = TrainedRun.open(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "validation"
    config = with_run_defaults(RetrieveConfig(), run.shares, run.blend, run.calibration)
    held = targets_of_kind(subsample(held_out_users(run.prepared, split), _USERS), "new")  # type: ignore[arg-type]
    facts, items = ItemFacts.from_prepared(run.prepared), catalogue(run, run.item_vectors())
    reference = ReferenceClusters.from_prepared(run.prepared).interests(run.prepared, held)
    vectors, seen = user_vectors(run, held, config, items), seen_items(run.prepared, held)
    for n in (20, 100):
        first: tuple[Measures, NDArray[np.int64]] | None = None
        for least, most in POLICIES:
            lists, depths = [], []
            with mock.patch.object(search, "search_depths", lambda s, m, _, p=(least, most): _depths(s, m, *p)):
                for start in range(0, len(held), _AT_ONCE):
                    some = np.arange(start, min(start + _AT_ONCE, len(held)))
                    mine, excluded = vectors.select(some), [seen[b] for b in some.tolist()]
                    depths.append(search.plan_search(mine, n, config).limit_BK.sum(axis=1))
                    found = search.find_candidates(mine, items, n, excluded, config)
                    lists.append(ranked_lists(found, n).item_BN)
            item_BN = np.concatenate(lists)
            measured = list_measures(item_BN, held, facts, None, reference)
            first = first or (measured, item_BN)
            text = f"N {n}, least {least:g} N, {most} vectors: {np.concatenate(depths).mean():,.0f} proposals"
            print(f"{text}; {_compared(measured, *first, item_BN, np.diff(held.target_offset))}", flush=True)


def _depths(share_BK: NDArray[np.float64], most_B1: NDArray[np.int64], least: float, most: int) -> NDArray[np.int64]:
    depth_BK = np.maximum(np.ceil(share_BK * most_B1), np.ceil(most_B1 // _TIMES * least))
    rank_BK = np.argsort(np.argsort(-share_BK, axis=1, kind="stable"), axis=1, kind="stable")
    return np.where((share_BK > 0) & (rank_BK < most), np.minimum(most_B1, depth_BK), 0).astype(np.int64)


def _compared(
    measured: Measures,
    first: Measures,
    first_BN: NDArray[np.int64],
    item_BN: NDArray[np.int64],
    targets_B: NDArray[np.int64],
) -> str:
    known_B = ~np.isnan(measured["served"])
    pairs = {
        "HR": (measured["hits"], first["hits"], targets_B.astype(np.float64)),
        "served": (np.where(known_B, measured["served"], 0), np.where(known_B, first["served"], 0), known_B * 1.0),
    }
    parts = []
    for name, (own_B, base_B, weight_B) in pairs.items():
        change = bootstrap_ratios((own_B - base_B)[:, None], weight_B[:, None], 1000, generator(0, "proposals"))
        mean, low, high = change.interval(0)
        parts.append(f"{name} {own_B.sum() / weight_B.sum():.4f}, {mean:+.4f} [{low:+.4f}, {high:+.4f}]")
    same = np.mean([np.isin(a[a > 0], b).mean() for a, b in zip(first_BN, item_BN, strict=True) if a.any()])
    return "; ".join([*parts, f"same items {same:.3f}"])


assert allocation._PROPOSALS == _TIMES

if __name__ == "__main__":
    main()
