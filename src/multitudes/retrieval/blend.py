"""Blends of the ranked lists of a user's vectors into one list, chosen by ``[retrieve] blend``.

A new blend is a function here, a name in ``config.Blend`` and a call in ``search``.

Legend: B users · K vectors, with one list each · Q lists of all users, one for each vector that exists · U distinct
items of a user's lists · N candidates · F entries of all lists · D width. A leading ``...`` stands for any number of
further axes, for one user and for many.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.user_vectors import UserVectors
from multitudes.index.item_table import find_rows
from multitudes.index.protocol import NO_ID, Hits
from multitudes.index.scan import pair_keys
from multitudes.retrieval.catalogue import Catalogue

_USERS_PER_CHUNK = 16  # their items' vectors fit into the processor's cache: 64 take a tenth longer
_TABLE_SPEEDUP = 8  # a table of flags is this many times faster for one item than a binary search


class MergedLists(NamedTuple):
    """The distinct items of K lists, ascending, with their scores in each list.

    For several users, the rows of users with fewer items end in ``NO_ID``, which is in no list.
    """

    item_U: NDArray[np.int64]  # (..., U)
    score_KU: NDArray[np.float32]  # (..., K, U); minus infinity where list k does not have the item


class BlendedList(NamedTuple):
    """One list without repeats, best first; for several users, one each (..., N), which may end in ``NO_ID``."""

    item_N: NDArray[np.int64]
    score_N: NDArray[np.float32]
    interest_N: NDArray[np.int64]  # the list that brought the item


EMPTY_LIST = BlendedList(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64))


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


def mixture(
    merged: MergedLists,
    logit_KU: NDArray[np.float32],
    share_K: NDArray[np.float64],
    log_normaliser_K: NDArray[np.float32],
    n: int,
) -> BlendedList:
    """Take the ``n`` most probable items, with probability Σ_k share_k · exp(logit_ku − log_normaliser_k).

    Args:
        merged: the items of all lists. All arguments may be of several users: (..., K) and (..., K, U).
        logit_KU: inner products of all items with all vectors, also where the vector's list does not have the item;
            minus infinity where the vector is restricted to another topic.
        share_K: probability of each vector; they sum to one.
        log_normaliser_K: log Σ exp(logit) over all items of the vector's topic.
        n: number of items to take.

    Returns:
        Candidates with the log-probability as the score. ``interest_N`` is, among the vectors whose lists have the
        item, the one with the largest term of the sum.
    """
    has_items_K = np.isfinite(log_normaliser_K)  # not so for a topic without items
    with np.errstate(divide="ignore"):  # log 0 is minus infinity, as it should be
        prior_K = np.where(has_items_K, np.log(share_K) - np.where(has_items_K, log_normaliser_K, 0), -np.inf)
    term_KU = logit_KU + prior_K.astype(np.float32)[..., None]
    largest_U = term_KU.max(axis=-2, initial=np.finfo(np.float32).min)
    with np.errstate(divide="ignore"):
        score_U = np.log(np.exp(term_KU - largest_U[..., None, :]).sum(axis=-2)) + largest_U
    # The smallest finite number ranks a vector without a share above vectors whose lists do not have the item.
    np.maximum(term_KU, np.finfo(np.float32).min, out=term_KU)
    np.copyto(term_KU, -np.inf, where=np.isneginf(merged.score_KU))
    return _take_best(merged.item_U, score_U, term_KU, n)


def _take_best(
    item_U: NDArray[np.int64], score_U: NDArray[np.float32], credit_KU: NDArray[np.float32], n: int
) -> BlendedList:
    """Take the best items. Items ascend, so ties go to the smaller id; ``NO_ID`` comes last."""
    score_U = np.where(item_U == NO_ID, -np.inf, score_U)
    best_N = np.argsort(-score_U, axis=-1, kind="stable")[..., :n]
    credit_KN = np.take_along_axis(credit_KU, best_N[..., None, :], axis=-1)
    item_N, score_N = np.take_along_axis(item_U, best_N, axis=-1), np.take_along_axis(score_U, best_N, axis=-1)
    return BlendedList(item_N, score_N, credit_KN.argmax(axis=-2))


def blend_mixture(
    merged: MergedLists,
    vectors: UserVectors,
    topic_BK: NDArray[np.int64],
    share_BK: NDArray[np.float64],
    log_normaliser_BK: NDArray[np.float32],
    catalogue: Catalogue,
    n: int,
) -> Iterator[BlendedList]:
    """Blend the lists of many users by ``mixture``.

    Args:
        merged: the distinct items of the lists of each user (B, U).
        vectors: of the users.
        topic_BK: the topic to which a vector is restricted, or ``ANY_TOPIC``.
        share_BK: probability of each vector.
        log_normaliser_BK: minus infinity where there is no vector.
        catalogue: has the vectors and topics of the items.
        n: number of candidates.

    Yields:
        The list of each user; ``interest_N`` are columns of ``vectors``.
    """
    count_B = (merged.item_U != NO_ID).sum(axis=1)
    outside_BKU = _outside_topic(merged.item_U, topic_BK, catalogue)
    # The values of a masked vector are arbitrary and must not affect the result.
    vectors_BKD = np.where(vectors.mask_BK[:, :, None], vectors.vectors_BKD, 0)
    for start in range(0, len(count_B), _USERS_PER_CHUNK):
        chunk = slice(start, start + _USERS_PER_CHUNK)
        width = int(count_B[chunk].max())
        if width == 0:
            yield from [EMPTY_LIST] * len(count_B[chunk])
            continue
        item_BU = merged.item_U[chunk, :width]
        known_BU = np.where(item_BU == NO_ID, item_BU.max(), item_BU)
        item_BUD = catalogue.index.vectors(known_BU.ravel()).reshape(*known_BU.shape, -1)
        logit_BKU = vectors_BKD[chunk] @ item_BUD.transpose(0, 2, 1)
        np.copyto(logit_BKU, -np.inf, where=outside_BKU[chunk, :, :width])
        chunk_lists = MergedLists(item_BU, merged.score_KU[chunk, :, :width])
        blended = mixture(chunk_lists, logit_BKU, share_BK[chunk], log_normaliser_BK[chunk], n)
        for b, count in enumerate(np.minimum(n, count_B[chunk]).tolist()):
            yield BlendedList(blended.item_N[b, :count], blended.score_N[b, :count], blended.interest_N[b, :count])


def _outside_topic(item_BU: NDArray[np.int64], topic_BK: NDArray[np.int64], catalogue: Catalogue) -> NDArray[np.bool_]:
    """Return for each vector and item (B, K, U) whether the vector is restricted to a topic that the item lacks."""
    outside_BKU = np.zeros((*topic_BK.shape, item_BU.shape[1]), dtype=np.bool_)
    has_topic_I = np.zeros(item_BU.max(initial=0) + 2, dtype=np.bool_)  # the last entry is for NO_ID
    for topic in np.unique(topic_BK[topic_BK > 0]).tolist():
        user, k = np.nonzero(topic_BK == topic)
        topic_items, items = catalogue.index.items_of(topic), item_BU[user]
        if len(topic_items) > _TABLE_SPEEDUP * items.size:
            outside_BKU[user, k] = ~find_rows(topic_items, items)[1]
            continue
        topic_items = topic_items[: np.searchsorted(topic_items, len(has_topic_I) - 1)]
        has_topic_I[topic_items] = True
        outside_BKU[user, k] = ~has_topic_I.take(items, mode="wrap")
        has_topic_I[topic_items] = False
    return outside_BKU
