"""Blends of the ranked lists of a user's vectors into one list, chosen by ``[retrieve] blend``.

A new blend is a function and a line in ``BLENDS``, here, or the same in a plugin.

Legend: B users · K vectors, with one list each · Q lists of all users, one for each vector that exists · U distinct
items of a user's lists · N candidates · F entries of all lists. A leading ``...`` stands for any number of further
axes, for one user and for many.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.index.protocol import NO_ID, Hits
from multitudes.index.scan import pair_keys
from multitudes.plugins import Registry

# Added to each rank: the smaller, the more the first places of a list count beside agreement of the lists.
_RANK_OFFSET: Final = 10.0


class MergedLists(NamedTuple):
    """The distinct items of K lists, ascending, with their scores in each list.

    For several users, the rows of users with fewer items end in ``NO_ID``, which is in no list.
    """

    item_U: NDArray[np.int64]  # (..., U)
    score_KU: NDArray[np.float32]  # (..., K, U); minus infinity where list k does not have the item

    def scores_of(self, item_BN: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the scores of some of the items of several users (B, K, N); those of ``NO_ID`` are minus infinity.

        Args:
            item_BN: items of each user, which may end in ``NO_ID``.
        """
        users, vectors = self.score_KU.shape[:2]
        score_BKN = np.full((users, vectors, item_BN.shape[1]), -np.inf, dtype=np.float32)
        for b, (item_N, item_U) in enumerate(zip(item_BN, self.item_U, strict=True)):
            count_U, count_N = int((item_U != NO_ID).sum()), int((item_N != NO_ID).sum())
            score_BKN[b, :, :count_N] = self.score_KU[b][:, np.searchsorted(item_U[:count_U], item_N[:count_N])]
        return score_BKN


class UserLists(NamedTuple):
    """The lists of all vectors of B users: what a blend reads."""

    hits: Hits
    user_Q: NDArray[np.int64]  # the user of each list, ascending
    column_Q: NDArray[np.int64]  # its vector
    merged: MergedLists  # the same by item
    share_BK: NDArray[np.float64]  # share of each vector in a list of ``places``
    places: int


class BlendedList(NamedTuple):
    """One list without repeats, best first; for several users, one each (..., N), which may end in ``NO_ID``."""

    item_N: NDArray[np.int64]
    score_N: NDArray[np.float32]
    interest_N: NDArray[np.int64]  # the list that brought the item

    def take(self, place_M: NDArray[np.int64]) -> "BlendedList":
        """Return some of the items.

        Args:
            place_M: their places (..., M).
        """
        return BlendedList(
            np.take_along_axis(self.item_N, place_M, axis=-1),
            np.take_along_axis(self.score_N, place_M, axis=-1),
            np.take_along_axis(self.interest_N, place_M, axis=-1),
        )


def merge_lists(
    lists: Hits, user_Q: NDArray[np.int64], column_Q: NDArray[np.int64], shape: tuple[int, int]
) -> MergedLists:
    """Return the distinct items of all lists of each user.

    Args:
        lists: of all users.
        user_Q: the user of each list, ascending.
        column_Q: the vector of each list.
        shape: B, K.

    Returns:
        Items (B, U) and scores (B, K, U).
    """
    query_F, rank_F = np.nonzero(np.arange(lists.id_QN.shape[1]) < lists.count_Q[:, None])
    user_F, item_F = user_Q[query_F], lists.id_QN[query_F, rank_F]
    order_F = np.argsort(pair_keys(user_F, item_F))
    user_F, item_F = user_F[order_F], item_F[order_F]
    new_F = np.ones(len(order_F), dtype=np.bool_)
    new_F[1:] = (item_F[1:] != item_F[:-1]) | (user_F[1:] != user_F[:-1])
    first_B = np.searchsorted(user_F, np.arange(shape[0] + 1))
    nth_F = np.concatenate([[0], np.cumsum(new_F)])  # distinct items before each entry
    position_F = nth_F[1:] - 1 - nth_F[first_B][user_F]
    width = int(np.diff(nth_F[first_B]).max(initial=0))
    item_BU = np.full((shape[0], width), NO_ID, dtype=np.int64)
    item_BU[user_F, position_F] = item_F
    score_BKU = np.full((*shape, width), -np.inf, dtype=np.float32)
    query_F, rank_F = query_F[order_F], rank_F[order_F]
    score_BKU[user_F, column_Q[query_F], position_F] = lists.score_QN[query_F, rank_F]
    return MergedLists(item_BU, score_BKU)


def allocate_by_weight(weight_K: ArrayLike, budget: ArrayLike) -> NDArray[np.int64]:
    """Divide places in proportion to weights, by the largest-remainder method; ties go to the earlier vector.

    Args:
        weight_K: weights (..., K), at least 0.
        budget: number of places (...), at least 0.

    Returns:
        Places (..., K) that sum to the budget, or zeros where all weights are zero.
    """
    weight = np.asarray(weight_K, dtype=np.float64)
    places = np.asarray(budget, dtype=np.int64)[..., None]
    largest = weight.max(axis=-1, keepdims=True, initial=0.0)
    weight = weight / np.where(largest > 0, largest, 1.0)  # the sum of denormal weights would lose their proportions
    total = weight.sum(axis=-1, keepdims=True)
    exact = places * weight / np.where(total > 0, total, 1.0)
    quota = np.floor(exact).astype(np.int64)
    remaining = np.where(total > 0, places - quota.sum(axis=-1, keepdims=True), 0)
    order = np.argsort(quota - exact, axis=-1, kind="stable")
    rank = np.argsort(order, axis=-1, kind="stable")
    return np.asarray(quota + (rank < remaining), dtype=np.int64)


def round_robin(lists: Hits, quota_K: NDArray[np.int64], n: int) -> BlendedList:
    """Take items in turns: in each turn, every list with quota left adds its best item that is not taken (paper §5).

    A list whose best item was taken by another list adds its next one. If lists end before their quota, the others
    continue in turns.

    Args:
        lists: of one user.
        quota_K: number of items that each list may add.
        n: number of items to take.

    Returns:
        Candidates with the inner product of item and vector as the score.
    """
    remaining: list[Iterator[tuple[int, float]]] = [
        zip(lists.ids(k).tolist(), lists.scores(k).tolist(), strict=True) for k in range(len(quota_K))
    ]
    taken: dict[int, tuple[float, int]] = {}
    _take_turns(remaining, quota_K.tolist(), n, taken)
    _take_turns(remaining, [n] * len(remaining), n, taken)
    return BlendedList(
        np.fromiter(taken, dtype=np.int64, count=len(taken)),
        np.array([score for score, _ in taken.values()], dtype=np.float32),
        np.array([k for _, k in taken.values()], dtype=np.int64),
    )


def round_robin_of_users(lists: UserLists, n: int) -> BlendedList:
    """Blend the lists of each user by ``round_robin``; quotas follow the shares of the vectors."""
    quota_BK = allocate_by_weight(lists.share_BK, np.full(len(lists.share_BK), lists.places))
    users = len(quota_BK)
    blended = BlendedList(
        np.full((users, n), NO_ID, dtype=np.int64),
        np.full((users, n), -np.inf, dtype=np.float32),
        np.zeros((users, n), dtype=np.int64),
    )
    start_B = np.searchsorted(lists.user_Q, np.arange(users + 1)).tolist()
    for b in range(users):
        own = slice(start_B[b], start_B[b + 1])
        column_K = lists.column_Q[own]
        one = round_robin(lists.hits.select(own), quota_BK[b, column_K], n)
        count = len(one.item_N)
        blended.item_N[b, :count], blended.score_N[b, :count] = one.item_N, one.score_N
        blended.interest_N[b, :count] = column_K[one.interest_N]
    return blended


def _take_turns(
    remaining: list[Iterator[tuple[int, float]]], places: list[int], n: int, taken: dict[int, tuple[float, int]]
) -> None:
    """Take items in turns until ``n`` are taken or no list has both places and items left."""
    active = [k for k, count in enumerate(places) if count > 0]
    while active and len(taken) < n:
        for k in active[: n - len(taken)]:
            item, score = next((pair for pair in remaining[k] if pair[0] not in taken), (None, 0.0))
            if item is None:
                places[k] = 0
            else:
                taken[item] = (score, k)
                places[k] -= 1
        active = [k for k in active if places[k] > 0]


def global_top(merged: MergedLists, n: int) -> BlendedList:
    """Take the ``n`` items with the largest scores in any list."""
    return _take_best(merged.item_U, merged.score_KU.max(axis=-2), merged.score_KU, n)


def fusion_terms(lists: Hits, share_Q: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return what each entry of each list adds to the fused score: share / (rank + offset), shape (Q, N)."""
    rank_N = np.arange(lists.id_QN.shape[1])
    return np.asarray(share_Q[:, None] / (rank_N + _RANK_OFFSET), dtype=np.float32)


def fusion(terms: MergedLists, n: int) -> BlendedList:
    """Take the best items by weighted reciprocal rank fusion (Cormack et al., SIGIR 2009).

    Ranks compare where scores of different vectors do not, and items that several vectors find come first.

    Args:
        terms: ``fusion_terms`` by item.
        n: number of items to take.

    Returns:
        Candidates with the sum of the terms as the score; ``interest_N`` is the list with the largest term.
    """
    return _take_best(terms.item_U, np.maximum(terms.score_KU, 0).sum(axis=-2), terms.score_KU, n)


def _take_best(
    item_U: NDArray[np.int64], score_U: NDArray[np.float32], credit_KU: NDArray[np.float32], n: int
) -> BlendedList:
    """Take the best items. Items ascend, so ties go to the smaller id; ``NO_ID`` comes last."""
    score_U = np.where(item_U == NO_ID, -np.inf, score_U).astype(np.float32)
    best_N = np.argsort(-score_U, axis=-1, kind="stable")[..., :n]
    return BlendedList(item_U, score_U, credit_KU.argmax(axis=-2)).take(best_N)


class BlendSpec(NamedTuple):
    """A blend: one function, and what the search does for it."""

    meaning: str  # in a few words, beside a system of an evaluation
    # (lists, n) → up to n items of each user, best first; without one, those with the largest sums of terms.
    join: Callable[[UserLists, int], BlendedList] = lambda lists, n: fusion(lists.merged, n)
    # (lists, share of each) → what each place of each list adds (Q, N), in place of scores, which do not compare.
    terms: Callable[[Hits, NDArray[np.float64]], NDArray[np.float32]] | None = None
    is_deep: bool = False  # all items may come from one vector, so each is searched for all of them


BLENDS: Final = Registry(
    "blends",
    BlendSpec,
    {
        "fusion": BlendSpec("same vectors, blended by rank", terms=fusion_terms),
        "round_robin": BlendSpec("same vectors, blended in turns (the paper)", round_robin_of_users),
        "global_top": BlendSpec(
            "same vectors, blended by the best score", lambda lists, n: global_top(lists.merged, n), is_deep=True
        ),
    },
)
