"""Blends of the ranked lists of a user's vectors into one list, chosen by ``[retrieve] blend``.

A new blend is a function and a line in ``BLENDS``, here, or the same in a plugin.

Legend: B users · K vectors, with one list each · Q lists of all users, one for each vector that exists · U distinct
items of a user's lists · N candidates · F entries of all lists.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.index.hits import best_places, pair_keys
from multitudes.index.protocol import NO_ID, Hits
from multitudes.plugins import Registry

# Added to each rank: the smaller, the more the first places of a list count beside agreement of the lists.
_RANK_OFFSET: Final = 10.0


class MergedLists(NamedTuple):
    """The distinct items of the lists of B users, ascending, with their scores in each list.

    The rows of users with fewer items end in ``NO_ID``, which is in no list.
    """

    item_BU: NDArray[np.int64]
    score_BKU: NDArray[np.float32]  # minus infinity where list k does not have the item

    def scores_of(self, item_BN: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the scores of some of each user's items (B, K, N); those of ``NO_ID``, at the end, are −∞."""
        users, vectors = self.score_BKU.shape[:2]
        score_BKN = np.full((users, vectors, item_BN.shape[1]), -np.inf, dtype=np.float32)
        for b, (item_N, item_U) in enumerate(zip(item_BN, self.item_BU, strict=True)):
            count_U, count_N = int((item_U != NO_ID).sum()), int((item_N != NO_ID).sum())
            score_BKN[b, :, :count_N] = self.score_BKU[b][:, np.searchsorted(item_U[:count_U], item_N[:count_N])]
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
    """One list without repeats for each user, best first, which may end in ``NO_ID``."""

    item_BN: NDArray[np.int64]
    score_BN: NDArray[np.float32]
    interest_BN: NDArray[np.int64]  # the list that brought the item

    def take(self, place_BM: NDArray[np.int64]) -> "BlendedList":
        """Return some of the items by their places ``place_BM`` in each list (B, M), from 0."""
        flat_BM = place_BM + np.arange(len(place_BM))[:, None] * self.item_BN.shape[1]
        return BlendedList(self.item_BN.take(flat_BM), self.score_BN.take(flat_BM), self.interest_BN.take(flat_BM))


def merge_lists(
    lists: Hits, user_Q: NDArray[np.int64], column_Q: NDArray[np.int64], shape: tuple[int, int]
) -> MergedLists:
    """Return the distinct items of all lists of each user; ``shape`` is B, K.

    ``user_Q`` is the user of each list, ascending, and ``column_Q`` its vector.
    """
    # Flat places with ``take``: brackets with several arrays take twice the time.
    place_F = np.flatnonzero(np.arange(lists.id_QN.shape[1]) < lists.count_Q[:, None])
    query_F, item_F = np.repeat(np.arange(len(user_Q)), lists.count_Q), lists.id_QN.take(place_F)
    key_F = pair_keys(user_Q.take(query_F), item_F)
    order_F = key_F.argsort()
    sorted_F, is_first_F = key_F.take(order_F), np.ones(len(order_F), dtype=np.bool_)
    is_first_F[1:] = sorted_F[1:] != sorted_F[:-1]
    first_B = sorted_F[is_first_F].searchsorted(pair_keys(np.arange(shape[0] + 1), np.zeros(1, dtype=np.int64)))
    count_B = first_B[1:] - first_B[:-1]
    width = int(count_B.max(initial=0))
    item_BU = np.full((shape[0], width), NO_ID, dtype=np.int64)
    item_BU[np.arange(width) < count_B[:, None]] = item_F.take(order_F[is_first_F])
    score_BKU = np.full((*shape, width), -np.inf, dtype=np.float32)
    row_Q = (user_Q * shape[1] + column_Q) * width - first_B.take(user_Q)
    cell_F = row_Q.take(query_F.take(order_F)) + np.cumsum(is_first_F) - 1
    score_BKU.ravel()[cell_F] = lists.score_QN.take(place_F.take(order_F))
    return MergedLists(item_BU, score_BKU)


def allocate_by_weight(weight_K: ArrayLike, budget: ArrayLike) -> NDArray[np.int64]:
    """Divide places in proportion to weights, by the largest-remainder method; ties go to the earlier vector.

    Of a budget (...) and weights (..., K), all at least 0, returns places (..., K) that sum to the budget, or zeros
    where all weights are zero.
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


def round_robin(lists: UserLists, n: int) -> BlendedList:
    """Take items in turns: in each turn, every list with quota left adds its best item that is not taken (paper §5).

    Quotas follow the shares of the vectors. A list whose best item was taken by another list adds its next one. If
    lists end before their quota, the others continue in turns. The score is the inner product of item and vector.
    """
    quota_BK = allocate_by_weight(lists.share_BK, np.full(len(lists.share_BK), lists.places))
    users = len(quota_BK)
    blended = BlendedList(
        np.full((users, n), NO_ID, dtype=np.int64),
        np.full((users, n), -np.inf, dtype=np.float32),
        np.zeros((users, n), dtype=np.int64),
    )
    start_B = np.searchsorted(lists.user_Q, np.arange(users + 1)).tolist()
    for b, quota_K in enumerate(quota_BK.tolist()):
        own = range(start_B[b], start_B[b + 1])
        remaining = {
            int(lists.column_Q[q]): zip(lists.hits.ids(q).tolist(), lists.hits.scores(q).tolist(), strict=True)
            for q in own
        }
        taken: dict[int, tuple[float, int]] = {}
        _take_turns(remaining, {k: quota_K[k] for k in remaining}, n, taken)
        _take_turns(remaining, dict.fromkeys(remaining, n), n, taken)
        if taken:
            place = b, slice(len(taken))
            blended.item_BN[place] = list(taken)
            blended.score_BN[place], blended.interest_BN[place] = zip(*taken.values(), strict=True)
    return blended


def _take_turns(
    remaining: Mapping[int, Iterator[tuple[int, float]]],
    places: dict[int, int],
    n: int,
    taken: dict[int, tuple[float, int]],
) -> None:
    """Take items in turns until ``n`` are taken or no list has both places and items left."""
    active = [k for k, count in places.items() if count > 0]
    while active and len(taken) < n:
        for k in active[: n - len(taken)]:
            item, score = next((pair for pair in remaining[k] if pair[0] not in taken), (None, 0.0))
            if item is None:
                places[k] = 0
            else:
                taken[item] = (score, k)
                places[k] -= 1
        active = [k for k in active if places[k] > 0]


def global_top(lists: UserLists, n: int) -> BlendedList:
    """Take the ``n`` items with the largest scores in any list."""
    return _take_best(lists.merged, lists.merged.score_BKU.max(axis=1), n)


def fusion_terms(lists: Hits, share_Q: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return what each entry of each list adds to the fused score: share / (rank + offset), shape (Q, N)."""
    rank_N = np.arange(lists.id_QN.shape[1])
    return np.asarray(share_Q[:, None] / (rank_N + _RANK_OFFSET), dtype=np.float32)


def fusion(lists: UserLists, n: int) -> BlendedList:
    """Take the ``n`` best items by weighted reciprocal rank fusion (Cormack et al., SIGIR 2009).

    Ranks compare where scores of different vectors do not, and items that several vectors find come first. The score is
    the sum of the terms, and the list that brought an item is the one with the largest term.
    """
    return _take_best(lists.merged, np.maximum(lists.merged.score_BKU, 0).sum(axis=1), n)


def _take_best(merged: MergedLists, score_BU: NDArray[np.float32], n: int) -> BlendedList:
    """Take the best items. Items ascend, so ties go to the smaller id; ``NO_ID`` comes last."""
    score_BU[merged.item_BU == NO_ID] = -np.inf
    best_BN = best_places(score_BU)[:, :n]
    return BlendedList(merged.item_BU, score_BU, merged.score_BKU.argmax(axis=1)).take(best_BN)


class BlendSpec(NamedTuple):
    """A blend: one function, and what the search does for it."""

    meaning: str  # in a few words, beside a system of an evaluation
    # (lists, n) → up to n items of each user, best first; without one, those with the largest sums of terms.
    join: Callable[[UserLists, int], BlendedList] = fusion
    # (lists, share of each) → what each place of each list adds (Q, N), in place of scores, which do not compare.
    terms: Callable[[Hits, NDArray[np.float64]], NDArray[np.float32]] | None = None
    is_deep: bool = False  # all items may come from one vector, so each is searched for all of them


BLENDS: Final = Registry(
    "blends",
    BlendSpec,
    {
        "fusion": BlendSpec("same vectors, blended by rank", terms=fusion_terms),
        "round_robin": BlendSpec("same vectors, blended in turns (the paper)", round_robin),
        "global_top": BlendSpec("same vectors, blended by the best score", global_top, is_deep=True),
    },
)
