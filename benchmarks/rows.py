"""What a row finds of the targets of its interest, beside the vector of the whole history.

::

    python -m benchmarks.rows RUN...

Trained runs with interests answer users of their validation split for first-time targets, with 5 rows of 20 items.
Items have one of 60 tastes, clusters of the run's item vectors. The taste of a row is that of most events of its
interest; its targets are those of the user with this taste. Of several rows with one taste, the first counts.

Lists of 20 items, for the targets of the row: those of the single vector (of the whole history), of the interest, and
of the control: of a random partition of the history, the part with most events of the taste. Each as it is and
restricted to items of the taste (``in the cluster``); and the row as it is served, where an item is in one row only.

Pages, for all targets of the user: all rows together, and the list of the single vector with as many items.

Printed: the hit rate, and the difference to the single vector under the same restriction, of a random part to the
interest, with its interval (95 %, bootstrap over users).
"""

import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, held_out_histories, held_out_users, seen_items
from multitudes.batches.user_vectors import UserVectors
from multitudes.evaluation.targets import subsample, targets_of_kind
from multitudes.index.tastes import cluster_items, nearest_tastes
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.rows import find_rows, order_vectors
from multitudes.retrieval.scorer import catalogue, user_vectors
from multitudes.retrieval.search import NO_ITEMS, popular_candidates
from multitudes.seeding import generator
from multitudes.training.trained_run import TrainedRun

TASTES, ROWS, PLACES, MAX_USERS, DRAWS = 60, 5, 20, 2_000, 2_000
# Each list, and the one that it is compared with.
LISTS = {
    "single": "single",
    "interest": "single",
    "random part": "interest",
    "row as served": "single",
    "single, in the cluster": "single, in the cluster",
    "interest, in the cluster": "single, in the cluster",
    "random part, in the cluster": "interest, in the cluster",
}
PAGES = {"page of the single vector": "page of the single vector", "page of rows": "page of the single vector"}


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
    config = with_run_defaults(RetrieveConfig(), run.shares, run.blend, run.calibration)
    return World(run, held, config, item_ID, taste_I, taste_I[histories.item_BL])


class Counts(NamedTuple):
    """What is counted of each user: of the rows together, and of the page."""

    rows_B: NDArray[np.int64]
    row_targets_B: NDArray[np.int64]
    row_hits_SB: NDArray[np.int64]  # by list
    page_hits_SB: NDArray[np.int64]  # by page


def count_hits(world: World) -> Counts:
    """Answer every user."""
    held, users = world.held, len(world.held)
    counts = Counts(*np.zeros((2, users), np.int64), *(np.zeros((len(one), users), np.int64) for one in (LISTS, PAGES)))
    items, seen = catalogue(world.run, world.item_ID), seen_items(world.run.prepared, held)
    vectors, random = (user_vectors(world.run, held, world.config, items, name) for name in ("interests", "random"))
    whole_BD = vectors.vectors_BKD[:, vectors.kinds.index("unconditioned")]
    for b in range(users):
        own, target = vectors.select(slice(b, b + 1)), held.target[held.target_offset[b] : held.target_offset[b + 1]]
        none = popular_candidates(NO_ITEMS, NO_ITEMS, vectors.kinds)
        served = find_rows(none, own, items, ROWS, PLACES, seen[b], world.config)
        pages = best(world, whole_BD[b], seen[b], len(served.item_N)), served.item_N
        counts.page_hits_SB[:, b] = [np.isin(target, one).sum() for one in pages]
        for k, taste in row_tastes(own, world.taste_BL[b], set(served.interest_N.tolist())):
            part = most_events(random, b, world.taste_BL[b], taste)
            three = [whole_BD[b], vectors.vectors_BKD[b, k], random.vectors_BKD[b, part]]
            lists = [best(world, vector_D, seen[b], PLACES) for vector_D in three]
            lists += [served.item_N[served.interest_N == k]]
            lists += [best(world, vector_D, seen[b], PLACES, taste) for vector_D in three]
            wanted = target[world.taste_I[target] == taste]
            counts.rows_B[b] += 1
            counts.row_targets_B[b] += len(wanted)
            counts.row_hits_SB[:, b] += [np.isin(wanted, one).sum() for one in lists]
    return counts


def row_tastes(own: UserVectors, taste_L: NDArray[np.int16], rows: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yield the column and the taste of each implicit interest of a user that has a row; each taste once."""
    yielded = set[int]()
    for k in order_vectors(own):
        events = Counter(taste_L[(own.assignment_BL[0] == k) & (taste_L >= 0)].tolist())
        taste = events.most_common(1)[0][0] if events and own.kinds[k] == "implicit" and k in rows else -1
        if taste >= 0 and taste not in yielded:
            yielded.add(taste)
            yield k, taste


def most_events(vectors: UserVectors, b: int, taste_L: NDArray[np.int16], taste: int) -> int:
    """Return the column with most events of a taste."""
    column_L = vectors.assignment_BL[b][(taste_L == taste) & (vectors.assignment_BL[b] >= 0)]
    return int(np.bincount(column_L, minlength=len(vectors.kinds)).argmax())


def best(
    world: World, vector_D: NDArray[np.float32], seen: NDArray[np.int64], n: int, taste: int | None = None
) -> NDArray[np.int64]:
    """Return the ``n`` best unseen items of a vector, of a taste if one is given."""
    score_I = world.item_ID @ vector_D
    allowed_I = world.taste_I >= 0 if taste is None else world.taste_I == taste
    allowed_I[seen] = False
    item_N = np.flatnonzero(allowed_I)
    return item_N[np.argsort(-score_I[item_N], kind="stable")[:n]]


def interval(difference_B: NDArray[np.float64], targets_B: NDArray[np.int64]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval over users of a difference of hit rates."""
    draw = generator(0, "bootstrap").integers(0, len(targets_B), (DRAWS, len(targets_B)))
    low, high = np.quantile(difference_B[draw].sum(axis=1) / targets_B[draw].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


def print_lines(
    head: str, compared: Mapping[str, str], hits_SB: NDArray[np.int64], targets_B: NDArray[np.int64]
) -> None:
    """Print a line for each list."""
    hits = dict(zip(compared, hits_SB.astype(np.float64), strict=True))
    for name, other in compared.items():
        difference_B = hits[name] - hits[other]
        low, high = interval(difference_B, targets_B)
        rate, gain = hits[name].sum() / targets_B.sum(), difference_B.sum() / targets_B.sum()
        print(f"{head} | {name} | {rate:.4f} | {gain:+.4f} [{low:+.4f}, {high:+.4f}]", flush=True)


def main(paths: list[str]) -> None:
    """Print the lines of each run."""
    print("run | users, rows, targets | list | hit rate | − single vector (a random part: − interest)")
    for path in paths:
        world = open_world(path)
        counts, targets_B = count_hits(world), np.diff(world.held.target_offset)
        size = f"{path} | {len(targets_B)}, {counts.rows_B.sum()}"
        print_lines(f"{size}, {counts.row_targets_B.sum()}", LISTS, counts.row_hits_SB, counts.row_targets_B)
        print_lines(f"{size}, {targets_B.sum()}", PAGES, counts.page_hits_SB, targets_B)


if __name__ == "__main__":
    main(sys.argv[1:])
