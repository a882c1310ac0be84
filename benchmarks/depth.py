"""What is lost when each vector is searched only as deep as its share of the list needs (``[retrieve] depth``).

::

    python -m benchmarks.depth RUN...

Each trained run answers the same users of its validation split twice: every vector searched for the whole list, and by
its share. Printed: the hit rates, their paired difference with its standard error, the part of the candidates that is
the same, the items that a user's vectors together were asked for, and the shortest list.
"""

import sys
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, held_out, part
from multitudes.evaluate.scorer import Scorer
from multitudes.evaluate.serving import catalogue, user_vectors
from multitudes.evaluate.targets import excluded, of_kind, seen_items
from multitudes.retrieve.allocate import depths, shares
from multitudes.retrieve.find import Candidates, find
from multitudes.retrieve.plan import Depth, RetrieveConfig, fitted
from multitudes.seeding import generator
from multitudes.train.runs import open_run

USERS, BUDGET = 600, 100


class Answered(NamedTuple):
    """What one depth gave."""

    candidates: list[Candidates]
    hit_rate_B: NDArray[np.float64]
    asked: float  # items that the vectors of one user were asked for, on average


def answered(run: Scorer, users: HeldOut, depth: Depth) -> Answered:
    """Answer the users as the run is served, at one depth."""
    config = fitted(RetrieveConfig(depth=depth), run.shares, run.blend)
    vectors = user_vectors(run, users, config)
    seen = excluded(seen_items(run.prepared, users), "new")
    found = find(vectors, catalogue(run, run.item_vectors()), BUDGET, seen, config)
    hit_rate_B = np.array([np.isin(targets(users, b), one.item_N).mean() for b, one in enumerate(found)])
    limit_BK = depths(shares(vectors, config), BUDGET, config) * vectors.mask_BK
    return Answered(found, hit_rate_B, float(limit_BK.sum(axis=1).mean()))


def targets(users: HeldOut, b: int) -> NDArray[np.int64]:
    """Return what one user is to be given."""
    return users.target[users.target_offset[b] : users.target_offset[b + 1]]


def main(paths: list[str]) -> None:
    """Print a line for each run."""
    print("run | users | HR full | HR share | difference ± its error | same | asked full → share | shortest")
    for path in paths:
        run = open_run(path)
        held = held_out(run.prepared, "validation")
        rows = np.sort(generator(0, "users of the depth benchmark").permutation(len(held))[:USERS])
        users = of_kind(part(held, rows), "new")
        full, share = answered(run, users, "full"), answered(run, users, "share")
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
