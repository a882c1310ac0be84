"""What a row finds of the targets of its interest, beside the single vector within the same cluster of items.

::

    python -m benchmarks.rows RUN...

Trained runs with interests answer users of their validation split for first-time targets. Items have one of 60 tastes,
clusters of the run's item vectors. The taste of a row is that of most events of its interest; its targets are those of
the user with this taste. Of several rows with one taste, the first counts. Each list has 20 places:

* ``single, in the cluster``: the vector of the whole history, restricted to items of the taste: what the others are
  compared with;
* ``single``: the same without the restriction;
* ``row``: as it is served, among the rows of all interests, without repeats;
* ``row, in the cluster``: its vector, restricted to items of the taste;
* ``random part, in the cluster``: the control: of a random partition of the history, the part with most events of the
  taste, restricted likewise.

Printed: the hit rate over all rows, and the difference to the first with its interval (95 %, bootstrap over users).
"""

import sys
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.new_users import interval
from multitudes.api import MAX_ROWS
from multitudes.batches.held_out import HeldOut, held_out_histories, held_out_users
from multitudes.batches.user_vectors import UserVectors
from multitudes.evaluation.protocol import user_vectors
from multitudes.evaluation.scorer import catalogue
from multitudes.evaluation.targets import seen_items, subsample, targets_of_kind
from multitudes.index.tastes import cluster_items, nearest_tastes
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.rows import find_rows, order_vectors
from multitudes.retrieval.search import NO_ITEMS, popular_candidates
from multitudes.training.trained_run import TrainedRun

TASTES, PLACES, MAX_USERS = 60, 20, 2_000
SINGLE = "single, in the cluster"
SYSTEMS = (SINGLE, "single", "row", "row, in the cluster", "random part, in the cluster")


class World(NamedTuple):
    """A run, its users and what is known of its items."""

    run: TrainedRun
    held: HeldOut
    config: RetrieveConfig
    item_ID: NDArray[np.float32]
    taste_I: NDArray[np.int16]
    taste_BL: NDArray[np.int16]  # of the events of each history


def open_world(path: str) -> World:
    """Read a run and the users of its validation split."""
    run = TrainedRun.open(path)
    held = subsample(targets_of_kind(held_out_users(run.prepared, "validation"), "new"), MAX_USERS, 0)
    item_ID = run.item_vectors()
    taste_I = nearest_tastes(item_ID, cluster_items(item_ID, TASTES))
    histories = held_out_histories(run.prepared, held.user_B, held.end_B, run.config.model.history)
    config = with_run_defaults(RetrieveConfig(), run.shares, run.blend)
    return World(run, held, config, item_ID, taste_I, taste_I[histories.item_BL])


def count_hits(world: World) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and targets of each user (B,), and the hits of each system (S, B)."""
    held, found = world.held, np.zeros((2 + len(SYSTEMS), len(world.held)), dtype=np.int64)
    vectors, random = (user_vectors(world.run, held, world.config, name) for name in ("interests", "random"))
    items, seen = catalogue(world.run, world.item_ID), seen_items(world.run.prepared, held)
    whole = vectors.kinds.index("unconditioned")
    for b in range(len(held)):
        own, target = vectors.select(slice(b, b + 1)), held.target[held.target_offset[b] : held.target_offset[b + 1]]
        none = popular_candidates(NO_ITEMS, NO_ITEMS, vectors.kinds)
        served = find_rows(none, own, items, MAX_ROWS, PLACES, seen[b], world.config)
        for k, taste in row_tastes(own, world.taste_BL[b]):
            wanted = target[world.taste_I[target] == taste]
            lists = (
                best(world, vectors.vectors_BKD[b, whole], seen[b], taste),
                best(world, vectors.vectors_BKD[b, whole], seen[b]),
                served.item_N[served.interest_N == k],
                best(world, vectors.vectors_BKD[b, k], seen[b], taste),
                best(world, random.vectors_BKD[b, most_events(random, b, world.taste_BL[b], taste)], seen[b], taste),
            )
            found[:, b] += [1, len(wanted), *(int(np.isin(wanted, one).sum()) for one in lists)]
    return found[0], found[1], found[2:]


def row_tastes(own: UserVectors, taste_L: NDArray[np.int16]) -> Iterator[tuple[int, int]]:
    """Yield the column and the taste of each implicit interest of a user, strongest first; each taste once."""
    yielded = set[int]()
    for k in order_vectors(own):
        events = Counter(taste_L[(own.assignment_BL[0] == k) & (taste_L >= 0)].tolist())
        taste = events.most_common(1)[0][0] if events and own.kinds[k] == "implicit" else -1
        if taste >= 0 and taste not in yielded:
            yielded.add(taste)
            yield k, taste


def most_events(vectors: UserVectors, b: int, taste_L: NDArray[np.int16], taste: int) -> int:
    """Return the column with most events of a taste."""
    column_L = vectors.assignment_BL[b][(taste_L == taste) & (vectors.assignment_BL[b] >= 0)]
    return int(np.bincount(column_L, minlength=len(vectors.kinds)).argmax())


def best(
    world: World, vector_D: NDArray[np.float32], seen: NDArray[np.int64], taste: int | None = None
) -> NDArray[np.int64]:
    """Return the best unseen items of a vector, of a taste if one is given."""
    score_I = world.item_ID @ vector_D
    allowed_I = world.taste_I >= 0 if taste is None else world.taste_I == taste
    allowed_I[seen] = False
    item_N = np.flatnonzero(allowed_I)
    return item_N[np.argsort(-score_I[item_N], kind="stable")[:PLACES]]


def main(paths: list[str]) -> None:
    """Print a line for each run and system."""
    print(f"run | users, rows, targets | list | HR@{PLACES} | − {SINGLE}")
    for path in paths:
        rows_B, targets_B, hits_SB = count_hits(open_world(path))
        for system, hits_B in zip(SYSTEMS, hits_SB, strict=True):
            difference_B = (hits_B - hits_SB[0]).astype(np.float64)
            low, high = interval(difference_B, targets_B)
            head = f"{path} | {len(rows_B)}, {rows_B.sum()}, {targets_B.sum()} | {system}"
            rate, gain = hits_B.sum() / targets_B.sum(), difference_B.sum() / targets_B.sum()
            print(f"{head} | {rate:.4f} | {gain:+.4f} [{low:+.4f}, {high:+.4f}]", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
