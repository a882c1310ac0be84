# mypy: ignore-errors
# ruff: noqa: ANN401
"""``python -m benchmarks.tilt RUN…``: do interests propose better as tilts of the whole history, u_0 + τ u_k?

Each run's validation users get lists of 20 and of 100 places, at several calibrations. As many proposals come from
u_0 alone (τ = 0), from the interests as trained (τ = ∞), and from tilts between. ``within`` also orders the items
of a taste by the vector of the interest that owns it, in place of the fused order.

Prints hits and interests served of each, in percent of one vector without calibration.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import select_targets, select_users
from multitudes.batches.user_vectors import UserVectors
from multitudes.index.protocol import NO_ID
from multitudes.retrieval import search
from multitudes.retrieval.blend import BlendedList
from multitudes.retrieval.calibration import calibrated_order, of_tastes
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import DEFAULT_SHARES
from multitudes.training import selection
from multitudes.training.runs import open_run

_CALIBRATIONS = (0.3, 0.5, 0.8)
_TILTS = (0.25, 0.5, 1.0, 2.0, np.inf)
_USERS = 1500


def tilted(vectors: UserVectors, tau: float) -> UserVectors:
    """Return the vectors with each implicit one as u_0 + τ u_k."""
    vectors_BKD = vectors.vectors_BKD.copy()
    whole, implicit_K = vectors.kinds.index("unconditioned"), [kind == "implicit" for kind in vectors.kinds]
    if tau != np.inf:
        vectors_BKD[:, implicit_K] = vectors_BKD[:, [whole]] + tau * vectors_BKD[:, implicit_K]
    return vectors._replace(vectors_BKD=vectors_BKD)


@contextmanager
def lists_of(tau: float, within: bool, item_ID: NDArray[np.float32]) -> Iterator[None]:
    """Let the selection make its lists of tilted vectors."""
    plain, find, now = selection.user_vectors, selection.find_candidates, {}

    def user_vectors(*args: Any, **settings: Any) -> UserVectors:
        return tilted(plain(*args, **settings), tau)

    def find_candidates(vectors: UserVectors, *args: Any, **settings: Any) -> Any:
        now["vectors"] = vectors
        return find(vectors, *args, **settings)

    def calibrate(proposed: BlendedList, taste_BT: NDArray[np.float64], catalogue: Catalogue) -> BlendedList:
        taste_BM = catalogue.tastes_of(proposed.item_N)
        order_BM = calibrated_order(taste_BM, taste_BT)
        if within:
            order_BM = np.take_along_axis(_by_owner(proposed.item_N, taste_BM, now["vectors"], item_ID), order_BM, 1)
        is_empty_BM = np.take_along_axis(proposed.item_N, order_BM, axis=1) == NO_ID
        return proposed.take(np.take_along_axis(order_BM, np.argsort(is_empty_BM, axis=1, kind="stable"), axis=1))

    with (
        patch.object(selection, "user_vectors", user_vectors),
        patch.object(selection, "find_candidates", find_candidates),
        patch.object(search, "_calibrate", calibrate),
    ):
        yield


def _by_owner(
    item_BM: NDArray[np.int64], taste_BM: NDArray[np.int16], vectors: UserVectors, item_ID: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return which candidate takes the place of each: those of a taste by the score of its owner."""
    whole = vectors.kinds.index("unconditioned")
    owner_BM = of_tastes(vectors.owner_BT, taste_BM, -1)
    column_BM = np.where(owner_BM < 0, whole, owner_BM)
    score_BM = np.stack(
        [
            (item_ID[items.clip(min=0)] * own[column]).sum(axis=1)
            for items, own, column in zip(item_BM, vectors.vectors_BKD, column_BM, strict=True)
        ]
    )
    score_BM[item_BM == NO_ID] = -np.inf
    moved_BM = np.empty_like(item_BM)
    by_taste_BM = np.argsort(taste_BM, axis=1, kind="stable")
    np.put_along_axis(moved_BM, by_taste_BM, np.lexsort((-score_BM, taste_BM), axis=1), axis=1)
    return moved_BM


def main() -> None:
    """Print the curves of each run."""
    for path in map(Path, sys.argv[1:]):
        run = open_run(path)
        held = selection.draw_validation_users(run.prepared, run.config)
        users = select_targets(held, held.target_is_first_time)
        users = select_users(users, np.arange(min(len(users), _USERS)))
        item_ID = run.item_vectors()
        for n in (20, 100):
            base = None
            for tau, within in [(0.0, False), *((tau, False) for tau in _TILTS), (1.0, True), (np.inf, True)]:
                shares = selection.ALONE if tau == 0 else DEFAULT_SHARES
                lists = [(selection.ALONE, 0.0), *((shares, one) for one in _CALIBRATIONS)]
                with (
                    lists_of(tau or np.inf, within, item_ID),
                    patch.object(selection, "candidate_lists", lambda *_, lists=lists: lists),
                ):
                    tried = selection.try_lists(run, users, n)
                base = base or tried[0]
                hits, served = base.hits_B.sum(), np.nanmean(base.served_B)
                gains = [
                    f"{100 * (one.hits_B.sum() / hits - 1):+.1f}/{100 * (np.nanmean(one.served_B) / served - 1):+.1f}"
                    for one in tried[1:]
                ]
                name = run.prepared.path.name
                print(f"{name:20} N {n:3} τ {tau:4} {'within' if within else '':6} {'  '.join(gains)}", flush=True)


if __name__ == "__main__":
    main()
