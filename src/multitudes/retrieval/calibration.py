"""Calibration: a list is divided among the tastes of its user, in proportion to how often each occurs in the history.

Steck (RecSys 2018) asks that a list have the proportions of the user's history, by a greedy sum; proportional
representation (Dang and Croft, SIGIR 2012) gives the same by places. Here every taste, and the list before calibration,
is a queue that moves at its weight, and an item comes when the first of its queues reaches it:

    key_i = min( (rank of i + ½) / (1 − Σ_t w_t),  (rank of i within its taste + ½) / w_taste(i) )

Both ranks are those of the fused proposals.

The N smallest keys are the list: of N places, each taste has at least w_t N, where it has the candidates, and the best
(1 − Σ w) N stay. So the share of a taste moves from that of the list towards that of the history, and a list never ends
before its candidates do. One sort orders them, for every N.

Tastes are clusters of item vectors (``index.tastes``).

A candidate is for the interest that most of the user's events in its taste belong to. In a fusion nearly every vector
finds it, and that of the whole history usually ranks it best, which tells the user nothing.

Legend: B users · L history · K vectors · T tastes · M candidates of a user, best first · N places · I items.
"""

from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.user_vectors import UserVectors
from multitudes.index.tastes import NO_TASTE
from multitudes.retrieval.catalogue import Catalogue

Value = TypeVar("Value", np.int64, np.float64)
UNWANTED: Final = -1.0  # in place of the part of a taste
_LEAST_WEIGHT: Final = 1e-6  # of what has no place of its own, and fills what is left


def with_tastes(
    vectors: UserVectors,
    positives: Sequence[NDArray[np.int64]],
    catalogue: Catalogue,
    calibration_B: float | NDArray[np.float64],
    weights: Sequence[NDArray[np.float64]] | None = None,
) -> UserVectors:
    """Return the vectors with the part of the list of each taste of their users.

    Args:
        vectors: of B users.
        positives: distinct items of each user's entire history with an event of positive weight.
        catalogue: knows the tastes of the items.
        calibration_B: part of the list that is divided among the tastes, for all users or for each.
        weights: of the positives, at least 0; None: each counts once. What belongs to a taste whose items all weigh
            nothing comes last: the user wants none of it.
    """
    if not catalogue.n_tastes or (weights is None and not np.any(calibration_B)):
        return vectors._replace(taste_BT=None)
    share_BT = taste_shares(positives, catalogue.item_taste, catalogue.n_tastes, weights)
    part_BT = share_BT * np.broadcast_to(calibration_B, len(share_BT))[:, None]
    if weights is not None:
        has_items_BT = taste_shares(positives, catalogue.item_taste, catalogue.n_tastes) > 0
        part_BT[has_items_BT & (share_BT == 0)] = UNWANTED
    return vectors._replace(taste_BT=part_BT)


def with_owners(vectors: UserVectors, item_BL: NDArray[np.int64], catalogue: Catalogue) -> UserVectors:
    """Return the vectors with the interest that owns each taste of their users.

    Args:
        vectors: of B users; the events of a muted interest, which has no vector, own nothing.
        item_BL: the histories that were divided into the interests.
        catalogue: knows the tastes of the items.
    """
    if not catalogue.n_tastes:
        return vectors
    users, width = vectors.mask_BK.shape
    taste_BL = catalogue.tastes_of(item_BL).astype(np.int64)
    user_E, place_E = np.nonzero((item_BL > 0) & (vectors.assignment_BL >= 0) & (taste_BL != NO_TASTE))
    interest_E, taste_E = vectors.assignment_BL[user_E, place_E], taste_BL[user_E, place_E]
    cell_E = (user_E * catalogue.n_tastes + taste_E) * width + interest_E
    count_BTK = np.bincount(cell_E, vectors.mask_BK[user_E, interest_E], users * catalogue.n_tastes * width)
    count_BTK = count_BTK.reshape(users, catalogue.n_tastes, width)
    return vectors._replace(owner_BT=np.where(count_BTK.any(axis=2), count_BTK.argmax(axis=2), -1))


def taste_shares(
    positives: Sequence[NDArray[np.int64]],
    item_taste_I: NDArray[np.int16],
    tastes: int,
    weights: Sequence[NDArray[np.float64]] | None = None,
) -> NDArray[np.float64]:
    """Return the share of each taste in the history of each user (B, T); zeros without an item of any taste.

    Neither recency nor the length of the history counts: on three public sets both changed nothing.

    Args:
        positives: distinct items of each user.
        item_taste_I: taste of each item by number; ``NO_TASTE`` is left out.
        tastes: T.
        weights: of the items; None: each counts once.
    """
    user_E = np.repeat(np.arange(len(positives)), [len(items) for items in positives])
    item_E = np.concatenate([*positives, np.zeros(0, dtype=np.int64)])
    taste_E = item_taste_I[np.where(item_E < len(item_taste_I), item_E, 0)].astype(np.int64)
    counted_E = taste_E != NO_TASTE
    cell_E = user_E[counted_E] * tastes + taste_E[counted_E]
    weight_E = None if weights is None else np.concatenate([*weights, np.zeros(0)])[counted_E]
    count_BT = np.bincount(cell_E, weight_E, minlength=len(positives) * tastes).reshape(-1, tastes)
    total_B1 = count_BT.sum(axis=1, keepdims=True)
    return np.asarray(count_BT / np.where(total_B1 > 0, total_B1, 1))


def of_tastes(value_BT: NDArray[Value], taste_BM: NDArray[np.int16], missing: float) -> NDArray[Value]:
    """Return the value of the taste of each item of each user (B, M); ``missing`` for ``NO_TASTE``."""
    value_BM = value_BT[np.arange(len(value_BT))[:, None], taste_BM]  # NO_TASTE is −1, the last column
    return np.where(taste_BM == NO_TASTE, value_BT.dtype.type(missing), value_BM)


def calibrated_order(taste_BM: NDArray[np.int16], weight_BT: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the order of each user's candidates (B, M), as rows of the list before calibration.

    Args:
        taste_BM: tastes of the candidates, best candidate first; ``NO_TASTE`` for none. Where a list ends, its
            candidates of no taste come last.
        weight_BT: part of the list of each taste; rows sum to at most 1, beside ``UNWANTED``, which comes last.
    """
    users, width = taste_BM.shape
    user_B1, place_M = np.arange(users)[:, None], np.arange(width)
    by_taste_BM = np.argsort(taste_BM, axis=1, kind="stable")
    sorted_BM = taste_BM[user_B1, by_taste_BM]
    first_BM = np.broadcast_to(place_M, (users, width)).copy()
    first_BM[:, 1:][sorted_BM[:, 1:] == sorted_BM[:, :-1]] = 0
    within_BM = np.empty((users, width), dtype=np.int64)
    within_BM[user_B1, by_taste_BM] = place_M - np.maximum.accumulate(first_BM, axis=1)
    own_BM = of_tastes(weight_BT, taste_BM, 0)
    rest_B1 = np.maximum(1 - np.maximum(weight_BT, 0).sum(axis=1, keepdims=True), _LEAST_WEIGHT)
    key_BM = np.minimum((place_M + 0.5) / rest_B1, (within_BM + 0.5) / np.maximum(own_BM, _LEAST_WEIGHT**2))
    key_BM[own_BM == UNWANTED] = np.inf
    return np.argsort(key_BM, axis=1, kind="stable")
