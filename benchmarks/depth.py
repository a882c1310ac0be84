"""The loss when each vector is searched only to the depth that its share of the list needs (``[retrieve] depth``).

::

    python -m benchmarks.depth RUN...

Each trained run answers the same users of its validation split twice: once with each vector searched for the entire
list, once by its share. Printed: the hit rates, their paired difference with its standard error, the share of equal
candidates, the number of items that the vectors of a user were searched for, and the shortest list.
"""

import sys
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, held_out_users, seen_items, select_users
from multitudes.evaluation.targets import items_to_exclude, targets_of_kind
from multitudes.retrieval.allocation import proposals, search_depths, vector_shares
from multitudes.retrieval.config import Depth, RetrieveConfig, with_run_defaults
from multitudes.retrieval.scorer import Scorer, catalogue, user_vectors
from multitudes.retrieval.search import Candidates, find_candidates
from multitudes.seeding import generator
from multitudes.training.runs import open_run

USERS, BUDGET = 600, 100


class DepthResult(NamedTuple):
    """The candidates and hit rates at one depth."""

    candidates: list[Candidates]
    hit_rate_B: NDArray[np.float64]
    asked: float  # items that the vectors of one user are searched for, on average


def answer_users(run: Scorer, users: HeldOut, depth: Depth) -> DepthResult:
    """Find candidates with the settings that the run is served with, at one depth."""
    config = with_run_defaults(RetrieveConfig(depth=depth), run.shares, run.blend, run.calibration)
    items = catalogue(run, run.item_vectors())
    vectors = user_vectors(run, users, config, items)
    seen = items_to_exclude(seen_items(run.prepared, users), "new")
    found = find_candidates(vectors, items, BUDGET, seen, config)
    hit_rate_B = np.array([np.isin(user_targets(users, b), one.item_N).mean() for b, one in enumerate(found)])
    share_BK, most = vector_shares(vectors, config), proposals(vectors, BUDGET)
    limit_BK = search_depths(share_BK, BUDGET, most, config) * vectors.mask_BK
    return DepthResult(found, hit_rate_B, float(limit_BK.sum(axis=1).mean()))


def user_targets(users: HeldOut, b: int) -> NDArray[np.int64]:
    """Return the held-out items of one user."""
    return users.target[users.target_offset[b] : users.target_offset[b + 1]]


def main(paths: list[str]) -> None:
    """Print a line for each run."""
    print("run | users | HR full | HR share | difference ± its error | same | asked full → share | shortest")
    for path in paths:
        run = open_run(path)
        held = held_out_users(run.prepared, "validation")
        rows = np.sort(generator(0, "users of the depth benchmark").permutation(len(held))[:USERS])
        users = targets_of_kind(select_users(held, rows), "new")
        full, share = answer_users(run, users, "full"), answer_users(run, users, "share")
        gain_B = share.hit_rate_B - full.hit_rate_B
        error = gain_B.std() / np.sqrt(len(gain_B))
        pairs = zip(full.candidates, share.candidates, strict=True)
        same = np.mean([np.isin(a.item_N, b.item_N).mean() for a, b in pairs])
        shortest = min(len(one.item_N) for one in share.candidates)
        print(
            f"{path} | {len(users)} | {full.hit_rate_B.mean():.4f} | {share.hit_rate_B.mean():.4f}"
            f" | {gain_B.mean():+.4f} ± {error:.4f} | {same:.3f} | {full.asked:.0f} → {share.asked:.0f} | {shortest}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
