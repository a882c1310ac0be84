"""What shares of the list find among users that they were not chosen on (``training/shares.py``).

::

    python -m benchmarks.list_shares RUN...

Each trained run of several kinds of vectors answers users of its validation split for first-time targets, 100
candidates each. Half of the users, drawn 40 times, chooses among the shares, and the other half is counted; a user's
hits are the mean of the draws that did not choose with it. The likeliest shares, from which the others are made, are
fitted to all users.

Printed: the hit rate, and the difference to the unconditioned vector alone with its interval (95 %, bootstrap over
users).
"""

import sys

import numpy as np
from numpy.typing import NDArray

from benchmarks.new_users import BUDGET, interval
from multitudes.batches.held_out import held_out_users
from multitudes.evaluation.targets import targets_of_kind
from multitudes.seeding import generator
from multitudes.training.shares import candidate_shares, choose_simplest, fit_shares
from multitudes.training.trained_run import TrainedRun
from multitudes.training.validation import TOPICS, ItemScores, ScoredTargets, sample_rows

DRAWS, MAX_USERS = 40, 2_000
ALONE, LIKELIEST = "whole history alone", "fitted by likelihood"
ERRORS = {"most hits": 0.0, "simplest that is level": 1.0}  # standard errors that a mixture has to find more


def main(paths: list[str]) -> None:
    """Print a line for each run and rule."""
    print("run | users | targets | shares | HR@100 | − whole history alone")
    for path in paths:
        run = TrainedRun.open(path)
        held = targets_of_kind(held_out_users(run.prepared, "validation"), "new")
        rows = sample_rows(held, MAX_USERS, 0)
        scored = ScoredTargets(ItemScores(run, held, rows, TOPICS), held, rows)
        hits, targets_B = hits_by_rule(scored), scored.targets_B
        for rule, hits_B in hits.items():
            difference_B = hits_B - hits[ALONE]
            low, high = interval(difference_B, targets_B)
            rate, gain = hits_B.sum() / targets_B.sum(), difference_B.sum() / targets_B.sum()
            head = f"{path} | {len(rows)} | {targets_B.sum()} | {rule} | {rate:.4f}"
            print(f"{head} | {gain:+.4f} [{low:+.4f}, {high:+.4f}]", flush=True)


def hits_by_rule(scored: ScoredTargets) -> dict[str, NDArray[np.float64]]:
    """Return the hits of each user by rule (B,)."""
    fitted_G = fit_shares(scored.log_p_MG)
    shares_CG = [*candidate_shares(fitted_G), fitted_G]
    hits_CB = np.stack([scored.hits_of_users(items) for items in scored.best_items_of_each(shares_CG, BUDGET)])
    compared_CB, targets_B = hits_CB[:-1], scored.targets_B
    hits = {ALONE: hits_CB[0].astype(np.float64), LIKELIEST: hits_CB[-1].astype(np.float64)}
    for rule, errors in ERRORS.items():
        sum_B, counted_B = np.zeros(len(targets_B)), np.zeros(len(targets_B))
        for draw in range(DRAWS):
            order = generator(draw, "halves of the users").permutation(len(targets_B))
            chooses_B = np.isin(np.arange(len(targets_B)), order[: len(order) // 2])
            chosen = choose_simplest(compared_CB[:, chooses_B], targets_B[chooses_B], errors).candidate
            sum_B[~chooses_B] += compared_CB[chosen, ~chooses_B]
            counted_B += ~chooses_B
        hits[rule] = sum_B / counted_B
    return hits


if __name__ == "__main__":
    main(sys.argv[1:])
