"""Several ranked lists of one user become one: pure functions, chosen by ``[retrieve] blend``.

Legend: B users · K lists (one for each vector) · U distinct items of all lists · N candidates · F findings. A leading
``...`` is any number of further axes, so that one user and many take the same path.

The mixture for many users at once: what each of their vectors says of every item that any of them found.

Legend: B users · K vectors · Q lists, one for each vector that exists · U distinct items of a user's lists · D width ·
N candidates.
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


class MergedLists(NamedTuple):
    """The distinct items of K lists, ascending, and what each list says of them.

    Of many users, those who have fewer items than another end in ``NO_ID``, which no list found.
    """

    item_U: NDArray[np.int64]  # (..., U)
    score_KU: NDArray[np.float32]  # (..., K, U); minus infinity where list k did not find the item


class BlendedList(NamedTuple):
    """One list, best first, without repeats; of many users, one each (..., N), which may end in ``NO_ID``."""

    item_N: NDArray[np.int64]
    score_N: NDArray[np.float32]
    interest_N: NDArray[np.int64]  # the list that brought the item


EMPTY_LIST = BlendedList(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64))


def merge_lists(
    lists: Hits, user_Q: NDArray[np.int64], column_Q: NDArray[np.int64], shape: tuple[int, int]
) -> MergedLists:
    """Return the distinct items of all lists of each user (B, U), by id (equal scores do not make two items one).

    Args:
        lists: of all users.
        user_Q: whose each list is, ascending.
        column_Q: which of the user's lists it is.
        shape: B, K.
    """
    query_F, rank_F = np.nonzero(np.arange(lists.id_QN.shape[1]) < lists.count_Q[:, None])
    user_F, item_F = user_Q[query_F], lists.id_QN[query_F, rank_F]
    order_F = np.argsort(pair_keys(user_F, item_F))
    user_F, item_F = user_F[order_F], item_F[order_F]
    new_F = np.ones(len(order_F), dtype=np.bool_)
    new_F[1:] = (item_F[1:] != item_F[:-1]) | (user_F[1:] != user_F[:-1])
    first_B = np.searchsorted(user_F, np.arange(shape[0] + 1))
    nth_F = np.concatenate([[0], np.cumsum(new_F)])  # distinct items before each finding
    place_F = nth_F[1:] - 1 - nth_F[first_B][user_F]
    width = int(np.diff(nth_F[first_B]).max(initial=0))
    item_BU = np.full((shape[0], width), NO_ID, dtype=np.int64)
    item_BU[user_F, place_F] = item_F
    score_BKU = np.full((*shape, width), -np.inf, dtype=np.float32)
    query_F, rank_F = query_F[order_F], rank_F[order_F]
    score_BKU[user_F, column_Q[query_F], place_F] = lists.score_QN[query_F, rank_F]
    return MergedLists(item_BU, score_BKU)


def round_robin(lists: Hits, quota_K: NDArray[np.int64], n: int) -> BlendedList:
    """Take turns: in each turn every list with places left gives its best item that is not taken yet (paper §5).

    A place that a list loses to another's item goes to its next deeper neighbour. Where lists end before their quota,
    the others go on turn by turn until ``n`` are found. The score is the inner product with the vector that brought
    the item.
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
    """Let the lists give items in turn until ``n`` are taken or nobody has both places and items left."""
    playing = [k for k, left in enumerate(places) if left > 0]
    while playing and len(taken) < n:
        for k in playing[: n - len(taken)]:
            item, score = next((pair for pair in remaining[k] if pair[0] not in taken), (None, 0.0))
            if item is None:
                places[k] = 0
            else:
                taken[item] = (score, k)
                places[k] -= 1
        playing = [k for k in playing if places[k] > 0]


def global_top(found: MergedLists, n: int) -> BlendedList:
    """Take the ``n`` items of the best score under any vector that found them."""
    return _take_best(found.item_U, found.score_KU.max(axis=-2), found.score_KU, n)


def mixture(
    found: MergedLists,
    logit_KU: NDArray[np.float32],
    share_K: NDArray[np.float64],
    log_normaliser_K: NDArray[np.float32],
    n: int,
) -> BlendedList:
    """Take the ``n`` most probable items: log Σ_k share_k · exp(logit_ku − log_normaliser_k).

    Args:
        found: the items of all lists; every argument may be of many users (..., K), (..., K, U).
        logit_KU: inner products of every item with every vector, also of those that did not find it; minus infinity
            where the vector may not bring the item.
        share_K: probability of each vector, summing to one.
        log_normaliser_K: log Σ exp(logit) over all items that the vector may bring.
        n: how many to take.

    Returns:
        Candidates whose score is the log-probability of the item; each is credited to the vector with the largest
        part in it among those that found it.
    """
    able_K = np.isfinite(log_normaliser_K)  # not a topic without items
    with np.errstate(divide="ignore"):  # a share of zero is a log of minus infinity, as it should be
        prior_K = np.where(able_K, np.log(share_K) - np.where(able_K, log_normaliser_K, 0), -np.inf)
    part_KU = logit_KU + prior_K.astype(np.float32)[..., None]
    largest_U = part_KU.max(axis=-2, initial=np.finfo(np.float32).min)
    with np.errstate(divide="ignore"):
        score_U = np.log(np.exp(part_KU - largest_U[..., None, :]).sum(axis=-2)) + largest_U
    # The least finite number keeps a vector without share, where it alone found the item, above those that did not.
    np.maximum(part_KU, np.finfo(np.float32).min, out=part_KU)
    np.copyto(part_KU, -np.inf, where=np.isneginf(found.score_KU))
    return _take_best(found.item_U, score_U, part_KU, n)


def _take_best(
    item_U: NDArray[np.int64], score_U: NDArray[np.float32], credit_KU: NDArray[np.float32], n: int
) -> BlendedList:
    """Take the best; items ascend, so ties go to the smaller id, and what is none comes last."""
    score_U = np.where(item_U == NO_ID, -np.inf, score_U)
    best_N = np.argsort(-score_U, axis=-1, kind="stable")[..., :n]
    credit_KN = np.take_along_axis(credit_KU, best_N[..., None, :], axis=-1)
    item_N, score_N = np.take_along_axis(item_U, best_N, axis=-1), np.take_along_axis(score_U, best_N, axis=-1)
    return BlendedList(item_N, score_N, credit_KN.argmax(axis=-2))


_USERS_PER_CHUNK = 16  # whose items' vectors stay in the cache: 64 take a tenth longer
_TABLE_SPEEDUP = 8  # to mark an item in a table takes so much less than to look one up by halving


def blend_mixture(
    found: MergedLists,
    vectors: UserVectors,
    topic_BK: NDArray[np.int64],
    share_BK: NDArray[np.float64],
    log_normaliser_BK: NDArray[np.float32],
    catalogue: Catalogue,
    n: int,
) -> Iterator[BlendedList]:
    """Yield the list of each user, whose ``interest_N`` are columns of its vectors.

    Args:
        found: the distinct items of the lists of every user (B, U).
        vectors: of the users.
        topic_BK: the topic that a vector is restricted to, or ``ANY_TOPIC``: it has no say on other items.
        share_BK: probability of each vector.
        log_normaliser_BK: minus infinity where there is no vector.
        catalogue: knows the vectors and topics of the items.
        n: how many candidates.
    """
    count_B = (found.item_U != NO_ID).sum(axis=1)
    barred_BKU = _outside_topic(found.item_U, topic_BK, catalogue)
    # What stands in the place of a vector that does not exist has no say, whatever it is.
    vectors_BKD = np.where(vectors.mask_BK[:, :, None], vectors.vectors_BKD, 0)
    for start in range(0, len(count_B), _USERS_PER_CHUNK):
        part = slice(start, start + _USERS_PER_CHUNK)
        width = int(count_B[part].max())
        if width == 0:
            yield from [EMPTY_LIST] * len(count_B[part])
            continue
        item_BU = found.item_U[part, :width]
        known_BU = np.where(item_BU == NO_ID, item_BU.max(), item_BU)
        item_BUD = catalogue.index.vectors(known_BU.ravel()).reshape(*known_BU.shape, -1)
        logit_BKU = vectors_BKD[part] @ item_BUD.transpose(0, 2, 1)
        np.copyto(logit_BKU, -np.inf, where=barred_BKU[part, :, :width])
        some = MergedLists(item_BU, found.score_KU[part, :, :width])
        blended = mixture(some, logit_BKU, share_BK[part], log_normaliser_BK[part], n)
        for b, count in enumerate(np.minimum(n, count_B[part]).tolist()):
            yield BlendedList(blended.item_N[b, :count], blended.score_N[b, :count], blended.interest_N[b, :count])


def _outside_topic(item_BU: NDArray[np.int64], topic_BK: NDArray[np.int64], catalogue: Catalogue) -> NDArray[np.bool_]:
    """Say of each vector and item (B, K, U) whether the item is of another topic than the vector is restricted to."""
    barred_BKU = np.zeros((*topic_BK.shape, item_BU.shape[1]), dtype=np.bool_)
    of_topic_I = np.zeros(item_BU.max(initial=0) + 2, dtype=np.bool_)  # the last stands for no item
    for topic in np.unique(topic_BK[topic_BK > 0]).tolist():
        user, k = np.nonzero(topic_BK == topic)
        items, wanted = catalogue.index.items_of(topic), item_BU[user]
        if len(items) > _TABLE_SPEEDUP * wanted.size:
            barred_BKU[user, k] = ~find_rows(items, wanted)[1]
            continue
        items = items[: np.searchsorted(items, len(of_topic_I) - 1)]
        of_topic_I[items] = True
        barred_BKU[user, k] = ~of_topic_I.take(wanted, mode="wrap")
        of_topic_I[items] = False
    return barred_BKU
