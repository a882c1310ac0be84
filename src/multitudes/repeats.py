"""Repeat consumption: the probability that a user returns to an item of their own history, and its fit.

    p(item i of user u) = s_u · softmax_i(w · x_ui)          over the items of the history
    p(a new item, at place r of the list of new items) = (1 − s_u) · (H(r) − H(r − 1))

x_ui: how often and how long ago the user chose the item, how far that is from the user's usual gap between two events
with it, and how often users return to it at all. s_u, the share of repeats, depends on how many items the user has and
how often they returned. H(r) is the hit rate of r new candidates, a power law. The features follow work on repeat
consumption: recency and frequency (Anderson et al., WWW 2014), gaps and the items' own repeat rates (Bhagat et al., KDD
2018). Ages and gaps are in events of the user, so that logs without times and anonymous histories are ranked in the
same way.

All of it is fitted by likelihood on the validation split: three small convex problems, which of their own items users
return to (a conditional logit over the items of each history), how likely the next item is a repeat (logistic), and how
much a new candidate is worth (two hit rates of popular items). The fit depends on the data alone, so every run on a
folder gets the same model.

Legend: B users · M own items of all users, flat by user · F features · X rows of features · T targets · I items ·
N places.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multitudes.batches.held_out import HeldOut, held_out_users, select_users
from multitudes.config import Config
from multitudes.data.own_items import OwnItems, group_events, prepared_items
from multitudes.data.prepared import TRAIN, PreparedData, Split
from multitudes.metrics.ranking import target_rows
from multitudes.seeding import generator

_MAX_USERS = 5_000  # of whom the targets are used: thousands of repeats fit a handful of weights
_RIDGE = 1e-3  # per target: keeps weights finite where a feature says nothing
_PRIOR_ITEMS = 5.0  # users at the average rate that are added to those of each item
_DIGITS = 4  # of the weights: the last bits differ between machines

# Features and weights in, loss and gradient out.
Loss: TypeAlias = Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[float, NDArray[np.float64]]]


class RepeatModel(Config):
    """Fitted parameters."""

    item_weights: tuple[float, ...] = Field(description="w, the weights of ``item_features``.")
    share_weights: tuple[float, ...] = Field(description="Logit of s: the weights of ``share_features``.")
    hit_rate: float = Field(gt=0, le=1, description="H(depth): hit rate of popular new items, on first-time targets.")
    depth: int = Field(ge=1, description="Number of candidates of hit_rate.")
    exponent: float = Field(gt=0, le=1, description="H(r) = hit_rate · (r / depth) ^ exponent.")

    def rank(self, own: OwnItems, rate_M: NDArray[np.float32]) -> "RankedItems":
        """Return the probability of each own item; ``rate_M`` from ``repeat_rates``."""
        has_items_B = np.diff(own.offset) > 0
        logit_B = share_features(own) @ np.array(self.share_weights)
        log_share_B, log_new_B = -np.logaddexp(0, -logit_B), -np.logaddexp(0, logit_B)
        log_p_M = log_softmax(item_features(own, rate_M) @ np.array(self.item_weights), own.offset)
        return RankedItems(own.offset, own.item_M, log_p_M + log_share_B[own.rows], np.where(has_items_B, log_new_B, 0))

    def log_place_probabilities(self, n: int) -> NDArray[np.float64]:
        """Return log(H(r) − H(r − 1)) of the places 1 … n of a list of new items (N)."""
        rate = self.hit_rate * (np.arange(n + 1) / self.depth) ** self.exponent
        # Rounding must not exchange places that are nearly equal.
        return np.asarray(np.minimum.accumulate(np.log(np.diff(rate))))


class RankedItems(NamedTuple):
    """The own items of B users with their probabilities."""

    offset: NDArray[np.int64]  # B + 1
    item_M: NDArray[np.int64]
    log_p_M: NDArray[np.float64]  # that the user's next item is this one
    log_new_B: NDArray[np.float64]  # that it is none of them


def item_features(own: OwnItems, rate_M: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the features of the users' own items (M, F).

    log(count) · more than one event · log(1 + age) · |log of (1 + age) / (1 + mean gap)|, 0 after a single event ·
    log repeat rate of the item. Ages and gaps are in events of the user.
    """
    age_M = own.events[own.rows] - own.newest_M
    gap_M = (own.newest_M - own.oldest_M) / np.maximum(own.count_M - 1, 1)
    repeated_M = (own.count_M > 1).astype(np.float64)
    due_M = np.abs(np.log1p(age_M) - np.log1p(gap_M)) * repeated_M
    return np.stack([np.log(own.count_M), repeated_M, np.log1p(age_M), due_M, rate_M.astype(np.float64)], axis=1)


def share_features(own: OwnItems) -> NDArray[np.float64]:
    """Return the features of the share of repeats (B, 3): constant, log(items), log(events per item)."""
    items_B, events_B = np.maximum(np.diff(own.offset), 1), np.maximum(own.events, 1)
    return np.stack([np.ones(len(items_B)), np.log(items_B), np.log(events_B / items_B)], axis=1)


def log_softmax(score_M: NDArray[np.float64], offset: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the log softmax of the scores within each user (M)."""
    size_B = np.diff(offset)
    first, size = offset[:-1][size_B > 0], size_B[size_B > 0]
    if len(first) == 0:
        return score_M
    score_M = score_M - np.repeat(np.maximum.reduceat(score_M, first), size)
    return np.asarray(score_M - np.repeat(np.log(np.add.reduceat(np.exp(score_M), first)), size))


def fit_repeats(prepared: PreparedData, split: Split = "validation") -> RepeatModel | None:
    """Fit the repeat model to the targets of a split, with the histories before them; None if no target is a repeat."""
    held = held_out_users(prepared, split)
    if held.target_is_first_time.all():
        return None
    if len(held) > _MAX_USERS:
        rows = generator(0, "repeats", "users").choice(len(held), _MAX_USERS, replace=False)
        held = select_users(held, np.sort(rows))
    own = prepared_items(prepared, held.user_B, held.end_B)
    target_T = target_rows(held.target_offset) * (prepared.n_items + 1) + held.target
    is_target_M = np.isin(own.rows * (prepared.n_items + 1) + own.item_M, target_T)
    if not is_target_M.any():
        return None
    hit_rate, depth, exponent = _fit_new_items(prepared, held, own)
    return RepeatModel(
        item_weights=_fit_items(own, is_target_M, item_features(own, repeat_rates(prepared)[own.item_M])),
        share_weights=_fit_share(own, is_target_M, held),
        hit_rate=hit_rate,
        depth=depth,
        exponent=exponent,
    )


def repeat_rates(prepared: PreparedData) -> NDArray[np.float32]:
    """Return the log repeat rate of each item, relative to the average of all items (I + 1); row 0 is 0.

    The rate is the share of the item's users in training who chose it more than once.
    """
    pairs = _training_items(prepared)
    users_I = np.bincount(pairs.item_M, minlength=prepared.n_items + 1)
    returned_I = np.bincount(pairs.item_M, pairs.count_M > 1, minlength=prepared.n_items + 1)
    average = max(float(returned_I.sum()) / max(int(users_I.sum()), 1), 1e-6)
    rate_I = np.log((returned_I + _PRIOR_ITEMS * average) / (users_I + _PRIOR_ITEMS) / average)
    rate_I[0] = 0.0
    return np.asarray(rate_I, dtype=np.float32)


def _training_items(prepared: PreparedData) -> OwnItems:
    """Return the items of all users in training."""
    position = np.flatnonzero((prepared.event_split == TRAIN) & (prepared.event_weight > 0) & (prepared.event_item > 0))
    user, item = prepared.users_of(position), prepared.event_item[position].astype(np.int64)
    return group_events(user, item, prepared.n_users)


def _fit_items(own: OwnItems, is_target_M: NDArray[np.bool_], features_MF: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the weights under which the repeated targets are likeliest among the items of their users."""
    target_M = is_target_M.astype(np.float64)
    targets_B = np.diff(np.concatenate([[0], np.cumsum(target_M)])[own.offset])
    targets_M = targets_B[own.rows]

    def loss(features_MF: NDArray[np.float64], weights_F: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        log_p_M = log_softmax(features_MF @ weights_F, own.offset)
        gradient_F = features_MF.T @ (targets_M * np.exp(log_p_M) - target_M)
        return -float(target_M @ log_p_M) / target_M.sum(), gradient_F / target_M.sum()

    return _minimise(loss, features_MF)


def _fit_share(own: OwnItems, is_target_M: NDArray[np.bool_], held: HeldOut) -> tuple[float, ...]:
    """Return the weights of the share of repeats: of the targets of users with own items, which are repeats."""
    repeats_B = np.diff(np.concatenate([[0], np.cumsum(is_target_M)])[own.offset]).astype(np.float64)
    targets_B = np.where(np.diff(own.offset) > 0, np.diff(held.target_offset), 0).astype(np.float64)

    def loss(features_BF: NDArray[np.float64], weights_F: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logit_B = features_BF @ weights_F
        value = targets_B @ np.logaddexp(0, logit_B) - repeats_B @ logit_B
        gradient_F = features_BF.T @ (targets_B / (1 + np.exp(-logit_B)) - repeats_B)
        return float(value) / targets_B.sum(), gradient_F / targets_B.sum()

    features_BF = share_features(own)
    mean_F = features_BF[:, 1:].mean(axis=0)
    centred_BF = np.column_stack([features_BF[:, :1], features_BF[:, 1:] - mean_F])
    constant, items, events = _minimise(loss, centred_BF, free=1)
    return round(constant - mean_F[0] * items - mean_F[1] * events, _DIGITS), items, events


def _minimise(loss: Loss, features_XF: NDArray[np.float64], free: int = 0) -> tuple[float, ...]:
    """Return the weights with the least loss; the ridge is on standardised features and spares the first ``free``."""
    from scipy.optimize import minimize  # noqa: PLC0415 (a service does not fit)

    scale_F = np.maximum(features_XF.std(axis=0), 1e-6)
    scale_F[:free] = 1.0
    ridge_F = np.full(len(scale_F), _RIDGE)
    ridge_F[:free] = 1e-6
    standardised_XF = features_XF / scale_F

    def objective(weights_F: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, gradient_F = loss(standardised_XF, weights_F)
        return value + float(ridge_F @ weights_F**2), gradient_F + 2 * ridge_F * weights_F

    found = minimize(objective, np.zeros(len(scale_F)), jac=True, method="L-BFGS-B")
    return tuple(round(float(weight), _DIGITS) for weight in found.x / scale_F)


def _fit_new_items(prepared: PreparedData, held: HeldOut, own: OwnItems) -> tuple[float, int, float]:
    """Return hit rate, depth and exponent of the unseen items with the most users, on first-time targets."""
    depth = max(2, min(100, prepared.n_items // 2))
    first_time_T = held.target_is_first_time
    users_I = np.bincount(_training_items(prepared).item_M, minlength=prepared.n_items + 1)
    place_I = np.empty(prepared.n_items + 1, dtype=np.int64)
    place_I[np.argsort(-users_I, kind="stable")] = np.arange(prepared.n_items + 1)
    key_M = np.sort(own.rows * (prepared.n_items + 1) + place_I[own.item_M])
    user_T = target_rows(held.target_offset)[first_time_T]
    place_T = place_I[held.target[first_time_T]]
    seen_before_T = np.searchsorted(key_M, user_T * (prepared.n_items + 1) + place_T) - own.offset[user_T]
    rank_T = place_T - seen_before_T + 1
    near = max(1, depth // 10)
    hits_near, hits = ((rank_T <= n).sum() + 0.5 for n in (near, depth))
    exponent = np.clip(np.log(hits / hits_near) / np.log(depth / near), 0.05, 1)
    return round(float(hits / (len(rank_T) + 1)), 6), depth, round(float(exponent), _DIGITS)
