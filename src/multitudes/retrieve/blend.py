"""Several ranked lists of one user become one: pure functions, chosen by ``[retrieve] blend``.

Legend: B users · K lists (one for each vector) · U distinct items of all lists · N candidates · F findings. A leading
``...`` is any number of further axes, so that one user and many take the same path.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.index.protocol import NO_ID, Hits
from multitudes.index.scan import pair_keys


class Union(NamedTuple):
    """The distinct items of K lists, ascending, and what each list says of them.

    Of many users, those who have fewer items than another end in ``NO_ID``, which no list found.
    """

    item_U: NDArray[np.int64]  # (..., U)
    score_KU: NDArray[np.float32]  # (..., K, U); minus infinity where list k did not find the item


class Blended(NamedTuple):
    """One list, best first, without repeats; of many users, one each (..., N), which may end in ``NO_ID``."""

    item_N: NDArray[np.int64]
    score_N: NDArray[np.float32]
    interest_N: NDArray[np.int64]  # the list that brought the item


NOTHING = Blended(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64))


def unions(lists: Hits, user_Q: NDArray[np.int64], column_Q: NDArray[np.int64], shape: tuple[int, int]) -> Union:
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
    return Union(item_BU, score_BKU)


def round_robin(lists: Hits, quota_K: NDArray[np.int64], n: int) -> Blended:
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
    return Blended(
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


def global_top(found: Union, n: int) -> Blended:
    """Take the ``n`` items of the best score under any vector that found them."""
    return _best(found.item_U, found.score_KU.max(axis=-2), found.score_KU, n)


def mixture(
    found: Union,
    logit_KU: NDArray[np.float32],
    share_K: NDArray[np.float64],
    log_normaliser_K: NDArray[np.float32],
    n: int,
) -> Blended:
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
    return _best(found.item_U, score_U, part_KU, n)


def _best(item_U: NDArray[np.int64], score_U: NDArray[np.float32], credit_KU: NDArray[np.float32], n: int) -> Blended:
    """Take the best; items ascend, so ties go to the smaller id, and what is none comes last."""
    score_U = np.where(item_U == NO_ID, -np.inf, score_U)
    best_N = np.argsort(-score_U, axis=-1, kind="stable")[..., :n]
    credit_KN = np.take_along_axis(credit_KU, best_N[..., None, :], axis=-1)
    item_N, score_N = np.take_along_axis(item_U, best_N, axis=-1), np.take_along_axis(score_U, best_N, axis=-1)
    return Blended(item_N, score_N, credit_KN.argmax(axis=-2))
