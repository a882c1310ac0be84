"""How well a list covers the interests of its user, by classes of items that the list was not made from.

An interest is a class with at least ``LEAST_SHARE`` of a user's history; the head interest is the largest one.

Legend: B users · C classes · I items · T targets, flat: user ``b`` has ``offset[b] : offset[b + 1]`` · X targets with a
class · P pairs of a user and an item. Class −1 is none.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.metrics.bootstrap import ratio_or_nan
from multitudes.metrics.ranking import target_rows

LEAST_SHARE: Final = 0.03  # of the history, from which a class is an interest
_SERVED: Final = 0.5  # of its share of the history, which an interest gets of the list
_SMOOTHING: Final = 0.01  # keeps the divergence finite (Steck 2018)
_NO_INTEREST: Final = -2  # not the class −1 of a target without one
_ALPHA: Final = 0.5  # what each hit of a class takes from the gain of the next one

Column = NDArray[np.float64]


def class_shares(user_P: NDArray[np.int64], class_P: NDArray[np.integer], shape: tuple[int, int]) -> Column:
    """Return the share of each class among a user's items (B, C). Items without a class count in the total alone."""
    n_users, n_classes = shape
    has_class_P = class_P >= 0
    cell_P = user_P[has_class_P] * n_classes + class_P[has_class_P]
    count_BC = np.bincount(cell_P, minlength=n_users * n_classes).reshape(shape)
    return np.asarray(count_BC / np.bincount(user_P, minlength=n_users).clip(min=1)[:, None])


def is_interest(history_BC: Column) -> NDArray[np.bool_]:
    """Return which classes are interests of each user, by their shares of the history (B, C)."""
    return history_BC >= LEAST_SHARE


def has_interests(history_BC: Column) -> NDArray[np.bool_]:
    """Return whether each user has any interest (B,)."""
    return np.asarray(np.any(is_interest(history_BC), axis=1))


def served_share(list_BC: Column, history_BC: Column) -> Column:
    """Return the share of a user's interests that get half their share of the list (B,); NaN without interests."""
    interest_BC = is_interest(history_BC)
    is_served_BC = interest_BC & (list_BC >= _SERVED * history_BC)
    return ratio_or_nan(is_served_BC.sum(axis=1), interest_BC.sum(axis=1))


def miscalibration(list_BC: Column, history_BC: Column) -> Column:
    """Return KL(p ‖ .99 q + .01 p) in nats, p the shares of the history and q those of the list (Steck 2018), (B,).

    NaN without interests.
    """
    return np.where(has_interests(history_BC), divergence_terms(list_BC, history_BC).sum(axis=1), np.nan)


def divergence_terms(list_BC: Column, history_BC: Column) -> Column:
    """Return what each class adds to KL(p ‖ .99 q + .01 p), (B, C)."""
    mixed_BC = (1 - _SMOOTHING) * list_BC + _SMOOTHING * history_BC
    ratio_BC = np.divide(history_BC, mixed_BC, out=np.ones_like(history_BC), where=history_BC > 0)
    return history_BC * np.log(ratio_BC)


def head_excess(list_BC: Column, history_BC: Column) -> Column:
    """Return the head interest's share of the list minus its share of the history (B,); NaN without interests."""
    rows, head_B = np.arange(len(history_BC)), history_BC.argmax(axis=1)
    return np.where(has_interests(history_BC), (list_BC - history_BC)[rows, head_B], np.nan)


def is_beside_head(class_T: NDArray[np.integer], offset: NDArray[np.int64], history_BC: Column) -> NDArray[np.bool_]:
    """Return which targets are not of the user's head interest; none of a user without interests."""
    head_B = np.where(has_interests(history_BC), history_BC.argmax(axis=1), _NO_INTEREST)
    head_T = head_B[target_rows(offset)]
    return np.asarray((head_T != _NO_INTEREST) & (class_T != head_T))


class HitsByClass(NamedTuple):
    """The classes of a user's targets, (B,) each; recall is NaN for a user whose targets have no class."""

    mean_recall_B: Column
    worst_recall_B: Column
    hits_BC: NDArray[np.int64]


def hits_by_class(
    is_hit_T: NDArray[np.bool_], class_T: NDArray[np.integer], offset: NDArray[np.int64], n_classes: int
) -> HitsByClass:
    """Return hits by class, and the mean and the minimum of the recall over the classes of a user's targets."""
    shape = (len(offset) - 1, n_classes)
    cell_X = (target_rows(offset) * n_classes + class_T)[class_T >= 0]
    targets_BC, hits_BC = (
        np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
        for cells in (cell_X, cell_X[is_hit_T[class_T >= 0]])
    )
    recall_BC = ratio_or_nan(hits_BC.astype(np.float64), targets_BC.astype(np.float64))
    classes_B = (targets_BC > 0).sum(axis=1)
    worst_B = np.where(targets_BC > 0, recall_BC, np.inf).min(axis=1, initial=np.inf)
    mean_B = ratio_or_nan(np.nansum(recall_BC, axis=1), classes_B)
    return HitsByClass(mean_B, np.where(classes_B > 0, worst_B, np.nan), hits_BC)


def alpha_ndcg(
    rank_T: Column, class_T: NDArray[np.integer], offset: NDArray[np.int64], n_classes: int, cutoff: int
) -> Column:
    """Return α-nDCG (Clarke et al. 2008) with α = .5, (B,): the k-th hit of a class gains 2^(1 − k) / log2(rank + 1).

    The best list holds the targets by falling gain. NaN for a user whose targets have no class.
    """
    has_class_T = class_T >= 0
    owner_X, rank_X = target_rows(offset)[has_class_T], rank_T[has_class_T]
    gain_X = _ALPHA ** _places(owner_X * n_classes + class_T[has_class_T], rank_X).astype(np.float64)
    best_X = _places(owner_X, -gain_X) + 1.0
    gained_B, best_B = (
        np.bincount(owner_X, np.where(place_X <= cutoff, gain_X / np.log2(place_X + 1), 0.0), minlength=len(offset) - 1)
        for place_X in (rank_X, best_X)
    )
    return ratio_or_nan(gained_B, best_B)


def depth_at_coverage(score_BI: NDArray[np.floating], class_I: NDArray[np.integer], history_BC: Column) -> Column:
    """Return the median, over a user's interests, of the rank of the first item of the interest (B,).

    Items are ranked by score, but for those at ``-inf``. NaN for a user without interests or without ranked items of
    them.
    """
    best_BC = np.full(history_BC.shape, -np.inf, dtype=score_BI.dtype)
    order_I = np.argsort(class_I, kind="stable")[int((class_I < 0).sum()) :]
    present_C, start_C = np.unique(class_I[order_I], return_index=True)
    if len(present_C):
        best_BC[:, present_C] = np.maximum.reduceat(score_BI[:, order_I], start_C, axis=1)
    depth_B = np.full(len(score_BI), np.nan)
    is_ranked_BC = is_interest(history_BC) & (best_BC > -np.inf)
    for b in np.flatnonzero(is_ranked_BC.any(axis=1)).tolist():
        depth_B[b] = np.median(1 + (score_BI[b] > best_BC[b, is_ranked_BC[b], None]).sum(axis=1))
    return depth_B


def _places(group_X: NDArray[np.int64], key_X: Column) -> NDArray[np.int64]:
    """Return the place of each element within its group by ascending key, from 0."""
    order_X = np.lexsort((key_X, group_X))
    sorted_X = group_X[order_X]
    place_X = np.empty(len(order_X), dtype=np.int64)
    place_X[order_X] = np.arange(len(order_X)) - np.searchsorted(sorted_X, sorted_X)
    return place_X
