"""Shares of the kinds of vectors for users without a history, fitted after training.

The shares of all users say little of new ones: where implicit interests explain most, the unconditioned vector and the
explicit ones share a small rest, in proportions that hold beside interests. A new user has no interest, and would get
nearly all candidates from followed topics.

Hardly any validation user is new and follows topics, so the history of everyone who follows topics is hidden; the
targets stay. Expectation maximisation of their likelihood gives the shares (``training.shares``). Since a
likelihood counts rare targets for more than a list does, the explicit share is lowered as long as that finds more: a
new user is never served worse than by the unconditioned vector alone, as far as these targets tell. In the same way
popular items get half or three quarters of the turns where that finds more: without a history, a tower often knows no
better.

Users with a short history, 1 to 9 events, have the shares of all users: shares fitted for them alone on half of them
found no more with the other half, on two sets of check-ins.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multitudes.batches.held_out import HeldOut, held_out_histories
from multitudes.batches.interleave import interleave
from multitudes.batches.user_vectors import INTEREST_KINDS, HistoryLength, ListPart
from multitudes.linear.popularity import items_by_popularity, user_counts
from multitudes.training.shares import EXPLICIT_PARTS, fit_shares
from multitudes.training.trained_run import TrainedRun
from multitudes.training.validation import TOPICS, ItemScores, ScoredTargets

_POPULAR_SHARES: Final = (0.5, 0.75)  # that are compared with none; the rest is left to what the user follows


def can_fit_shares_by_history(run: TrainedRun) -> bool:
    """Return whether users without a history may have vectors of two kinds."""
    return {"unconditioned", "explicit"} <= set(run.kinds(1))


def fit_shares_by_history(
    run: TrainedRun, held: HeldOut, topics: int = TOPICS
) -> dict[HistoryLength, dict[ListPart, float]]:
    """Return the shares of users without a history.

    Args:
        run: the run, with the weights that are served.
        held: validation users.
        topics: followed topics that condition explicit vectors.

    Returns:
        Shares that sum to one, under "none". Empty if the run has not both unconditioned and explicit vectors, or no
        user of ``held`` follows topics: then users without a history have one kind of vector at most.
    """
    if not can_fit_shares_by_history(run):
        return {}
    histories = held_out_histories(run.prepared, held.user_B, held.end_B, run.config.model.history)
    rows = np.flatnonzero((histories.follow_BF > 0).any(axis=1))
    if not len(rows):
        return {}
    scored = ScoredTargets(ItemScores(run, held, rows, topics, hide_history=True), held, rows)
    fitted_G = fit_shares(scored.log_p_MG)
    if not fitted_G.sum():
        return {}  # no target is new to its user
    unconditioned, explicit = INTEREST_KINDS.index("unconditioned"), INTEREST_KINDS.index("explicit")
    n = min(run.config.train.eval_k, run.prepared.n_items + 1)
    candidates = [fitted_G.clone() for _ in EXPLICIT_PARTS]
    for shares_G, part in zip(candidates, EXPLICIT_PARTS, strict=True):
        shares_G[explicit] *= part
        shares_G[unconditioned] = 1 - shares_G[explicit]
    lists = scored.best_items_of_each(candidates, n)
    rates = [scored.share_found(item_BN) for item_BN in lists]
    best = int(np.argmax(rates))
    best_rate, best_BN = rates[best], lists[best]
    shares: dict[ListPart, float] = dict(zip(INTEREST_KINDS, candidates[best].tolist(), strict=True))
    popular_share, popular = 0.0, _popular_items(run, held, rows, n)
    for share in _POPULAR_SHARES:
        rate = scored.share_found(_with_popular(best_BN, popular, share))
        if rate > best_rate:
            best_rate, popular_share = rate, share
    if popular_share:
        shares = {kind: share * (1 - popular_share) for kind, share in shares.items()} | {"popular": popular_share}
    return {"none": shares}


def _popular_items(run: TrainedRun, held: HeldOut, rows: NDArray[np.int64], n: int) -> list[NDArray[np.int64]]:
    """Return the ``n`` most popular items that each user has not seen."""
    by_popularity, popular = items_by_popularity(user_counts(run.prepared)), []
    for user, end in zip(held.user_B[rows].tolist(), held.end_B[rows].tolist(), strict=True):
        seen = run.prepared.event_item[run.prepared.event_offset[user] : end]
        some = by_popularity[: n + len(seen)]
        popular.append(some[~np.isin(some, seen)][:n])
    return popular


def _with_popular(item_BN: Tensor, popular: Sequence[NDArray[np.int64]], share: float) -> Tensor:
    """Return the lists of users with popular items in turn (B, N), as ``retrieval.search`` makes them."""
    joined_BN, n = torch.zeros_like(item_BN), item_BN.shape[1]
    for b, (item_N, popular_N) in enumerate(zip(item_BN.numpy(), popular, strict=True)):
        own = item_N[item_N > 0]
        joined = np.concatenate([own, popular_N])[interleave(own, popular_N, share, n)]
        joined_BN[b, : len(joined)] = torch.from_numpy(joined)
    return joined_BN
