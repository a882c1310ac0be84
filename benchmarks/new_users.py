"""What shares of their own bring to users without a history (``shares_by_history``, ``training/history_shares.py``).

::

    python -m benchmarks.new_users RUN...

Trained runs answer users of their validation split for first-time targets, 100 candidates each: with the shares of
all users, with shares of their own as training fits them, and with those that the other half of the users tells. Beside
them: the unconditioned vector alone, and popular items.

* ``new``: users whose history is empty, and who follow the topics of their first events. ``evaluate`` hides such
  topics, since they are of the time after the cut, and so has no vector for these users; targets come after them.
* ``hidden``: all users who follow topics, with their history hidden.

Printed: the hit rate, and the difference to the shares of all users with its interval (95 %, bootstrap over users).
"""

import sys
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, held_out_histories, held_out_users, select_users
from multitudes.batches.histories import Histories, gather_histories, without_events
from multitudes.batches.user_vectors import HistoryLength, ListPart, UserVectors
from multitudes.data.own_items import positive_items
from multitudes.evaluation.protocol import vectors_of_kind
from multitudes.evaluation.scorer import catalogue
from multitudes.evaluation.targets import seen_items, targets_of_kind
from multitudes.metrics.ranking import target_rows
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.preferences import draw_topics
from multitudes.retrieval.search import find_candidates
from multitudes.seeding import generator
from multitudes.training.history_shares import fit_shares_by_history
from multitudes.training.loop import validation_users
from multitudes.training.trained_run import TrainedRun

BUDGET, DRAWS = 100, 2_000
ByHistory = Mapping[HistoryLength, Mapping[ListPart, float]]


def count_hits(run: TrainedRun, users: HeldOut, vectors: UserVectors, by_history: ByHistory) -> NDArray[np.float64]:
    """Return the hits of each user (B,), served with the shares of the run and ``by_history``."""
    config = with_run_defaults(RetrieveConfig(), run.shares, run.blend, by_history)
    seen = seen_items(run.prepared, users)
    found = find_candidates(vectors, catalogue(run, run.item_vectors()), BUDGET, seen, config)
    row_T = target_rows(users.target_offset)
    is_hit_T = [item in one for item, one in zip(users.target, (set(found[b].item_N) for b in row_T), strict=True)]
    return np.bincount(row_T, is_hit_T, len(users)).astype(np.float64)


def systems(run: TrainedRun, users: HeldOut, histories: Histories) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield the hits of each system by name, that of the shares of all users first."""
    topics = RetrieveConfig().topics_per_request
    topic_BC = draw_topics(histories.follow_BF, topics, 0, users.user_B)
    positives = positive_items(run.prepared, users.user_B, users.end_B)
    has_events_B = histories.valid_BL.sum(axis=1) > 0
    known = [items[: len(items) * int(has_events_B[b])] for b, items in enumerate(positives)]
    vectors = run.user_vectors(histories, topic_BC, positives=known)
    yield "shares of all users", count_hits(run, users, vectors, {})
    yield (
        "of their own",
        count_hits(run, users, vectors, fit_shares_by_history(run, validation_users(run.prepared, run.config))),
    )
    yield "of their own, from the other half", _cross_fit(run, users, vectors)
    yield "unconditioned alone", count_hits(run, users, vectors_of_kind(vectors, "unconditioned"), {})
    yield "popular items", count_hits(run, users, vectors._replace(mask_BK=np.zeros_like(vectors.mask_BK)), {})


def _cross_fit(run: TrainedRun, users: HeldOut, vectors: UserVectors) -> NDArray[np.float64]:
    """Return the hits where each half of the users is served with the shares that the other half tells."""
    held = targets_of_kind(held_out_users(run.prepared, "validation"), "new")
    is_first = generator(0, "halves of the users").permutation(len(held)) < len(held) // 2
    hits_B = np.zeros(len(users))
    for half in (is_first, ~is_first):
        fitted = fit_shares_by_history(run, select_users(held, np.flatnonzero(~half)))
        rows = np.flatnonzero(np.isin(users.user_B, held.user_B[half]))
        if len(rows):
            hits_B[rows] = count_hits(run, select_users(users, rows), vectors.select(rows), fitted)
    return hits_B


def interval(difference_B: NDArray[np.float64], targets_B: NDArray[np.int64]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval over users of a difference of hit rates."""
    draw = generator(0, "bootstrap").integers(0, len(targets_B), (DRAWS, len(targets_B)))
    low, high = np.quantile(difference_B[draw].sum(axis=1) / targets_B[draw].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


def main(paths: list[str]) -> None:
    """Print a line for each run, group of users and system."""
    print("run | users | targets | shares | HR@100 | − shares of all users")
    for path in paths:
        run = TrainedRun.open(path)
        prepared, length = run.prepared, run.config.model.history
        held = targets_of_kind(held_out_users(prepared, "validation"), "new")
        stated = gather_histories(prepared, held.user_B, held.end_B, length)
        known = held_out_histories(prepared, held.user_B, held.end_B, length)
        is_new = (held.end_B == prepared.event_offset[held.user_B]) & (stated.follow_BF > 0).any(axis=1)
        groups = {"new": (is_new, stated), "hidden": ((known.follow_BF > 0).any(axis=1), without_events(known))}
        for name, (chosen, histories) in groups.items():
            if not chosen.any():
                continue
            users = select_users(held, np.flatnonzero(chosen))
            targets_B, before_B = np.diff(users.target_offset), None
            for system, hits_B in systems(run, users, Histories(*(array[chosen] for array in histories))):
                before_B = hits_B if before_B is None else before_B
                low, high = interval(hits_B - before_B, targets_B)
                rate, gain = hits_B.sum() / targets_B.sum(), (hits_B - before_B).sum() / targets_B.sum()
                head = f"{path} | {name}, {len(users)} | {targets_B.sum()} | {system} | {rate:.4f}"
                print(f"{head} | {gain:+.4f} [{low:+.4f}, {high:+.4f}]", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
