"""A ranker that learns from logs what users want: logistic regression of saves on what a service can count.

It has the same features in every arm, and is fitted to the arm's own logs when the arm trains. It knows neither niches
nor appeal: a save is explained by the item's rate of saves and its popularity, by its topics among the user's saves and
follows, by the similarity to what the user saved (cosine of co-saves, as in item-kNN), and by earlier impressions.

Legend: B visitors · N candidates or places · I items · U users · T topics · E impressions · F features.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from scipy.special import expit

from multitudes_lab.simulation.actions import SAVE, Actions
from multitudes_lab.simulation.day_log import Visits
from multitudes_lab.simulation.history import ImpressionCounts
from multitudes_lab.simulation.world import World
from multitudes_lab.simulation.world_config import day_start_s

_FIT_DAYS = 7  # the impressions of so many last days are explained, each by what was known before
_PRIOR_IMPRESSIONS, _PRIOR_SAVES = 20.0, 5.0  # by which an item's rate and a user's share of a topic are smoothed
_SIMILARITY_FLOOR = 0.01  # below the logarithm
_STEPS, _RIDGE = 12, 1.0  # of Newton's method, which converges in fewer
_DENSE_CELLS = 2**22  # pairs of a user and an item that are computed at a time


class LearnedRanker(NamedTuple):
    """What is known of the items on the morning of the training, and the weight of each feature."""

    world: World
    rate_I: NDArray[np.float64]  # log of the smoothed rate of saves
    popularity_I: NDArray[np.float64]  # log of the saves, in the feed or not
    similar_II: csr_array  # cosine of the users of two items
    topic_TI: csr_array  # share of each topic in the topics of an item
    weight_F: NDArray[np.float64]

    def features(
        self, day: int, user_B: NDArray[np.int64], item_BN: NDArray[np.int64], done: Actions, seen_BN: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the features (B, N, F) of visitors' candidates, of which ``seen_BN`` counts the earlier impressions.

        ``done`` are the actions of all users; those before ``day`` are known. Features of negative items mean nothing.
        """
        world, saved_BI = self.world, _saves(self.world, day, done)[user_B]
        saved_BT, base_T = (saved_BI @ self.topic_TI.T).toarray(), self.topic_TI.mean(axis=1) + 1e-9
        share_BT = (saved_BT + _PRIOR_SAVES * base_T) / (saved_BT.sum(axis=1, keepdims=True) + _PRIOR_SAVES)
        follows_UT = np.zeros((world.users, len(world.topics)))
        follows_UT[np.repeat(np.arange(world.users), np.diff(world.followed_offset)), world.followed_topic] = 1
        log_lift_BN = _products(csr_array(np.log(share_BT / base_T)), self.topic_TI, item_BN)
        followed_BN = _products(csr_array(follows_UT[user_B]), self.topic_TI, item_BN)
        similar_BN = np.log(_products(saved_BI, self.similar_II, item_BN) + _SIMILARITY_FLOOR)
        of_item = self.rate_I[item_BN], self.popularity_I[item_BN]
        return np.stack([*of_item, log_lift_BN, followed_BN, similar_BN, np.log1p(seen_BN)], axis=2)


def fit_ranker(world: World, visits: Sequence[Visits], done: Actions) -> LearnedRanker:
    """Return a ranker that is fitted to the ``visits`` of every day since day 0; ``done`` has all actions."""
    day = len(visits)
    first = day - max(1, min(_FIT_DAYS, day // 2))
    ranker, seen = _count(world, visits[:first], done), ImpressionCounts(world.items)
    known, saves = [], []
    for earlier, (user_B, _, item_BN, action_BN) in enumerate(visits):
        if earlier >= first:
            features_BNF = ranker.features(earlier, user_B, item_BN, done, seen.counts(user_B, item_BN))
            # Users differ in how readily they save, and look at the first places; no candidate of a visit gains by it.
            ready_B1 = np.log1p(_saves(world, earlier, done).sum(axis=1))[user_B, None]
            others = np.broadcast_arrays(ready_B1, np.arange(item_BN.shape[1]) / 10, np.ones(item_BN.shape))
            known.append(np.concatenate([features_BNF, np.stack(others, axis=2)], axis=2)[item_BN >= 0])
            saves.append(action_BN[item_BN >= 0] == SAVE)
        seen.add(user_B, item_BN)
    weight_F = _logistic_weights(np.concatenate(known), np.concatenate(saves))[:-3]
    return _count(world, visits, done)._replace(weight_F=weight_F)


def _count(world: World, visits: Sequence[Visits], done: Actions) -> LearnedRanker:
    """Return what is known of the items after ``visits``, without weights."""
    none = np.empty(0, dtype=np.int64)
    item_E, action_E = (np.concatenate([none, *(visit[column].ravel() for visit in visits)]) for column in (2, 3))
    shown_I, saved_I = (np.bincount(item_E[of], minlength=world.items) for of in (item_E >= 0, action_E == SAVE))
    mean = (saved_I.sum() + 1) / (shown_I.sum() + 1)
    rate_I = np.log((saved_I + mean * _PRIOR_IMPRESSIONS) / (shown_I + _PRIOR_IMPRESSIONS))
    saved_UI = _saves(world, len(visits), done)
    users_I = saved_UI.sum(axis=0)
    unit_UI = saved_UI @ diags_array(1 / np.sqrt(np.maximum(users_I, 1)))
    topics = np.stack([world.topic_I, world.catalogue.second_topic_I])
    which, item = np.nonzero((topics >= 0) & world.has_features_I)
    share = 1 / np.bincount(item, minlength=world.items)[item]
    topic_TI = csr_array((share, (topics[which, item], item)), shape=(len(world.topics), world.items))
    return LearnedRanker(world, rate_I, np.log1p(users_I), csr_array(unit_UI.T @ unit_UI), topic_TI, np.empty(0))


def _saves(world: World, day: int, done: Actions) -> csr_array:
    """Return who saved what before ``day``, as ones (U, I)."""
    is_known = (done.action_E == SAVE) & (done.time_E < day_start_s(day))
    pair = np.unique(done.user_E[is_known] * world.items + done.item_E[is_known])
    return csr_array((np.ones(len(pair)), np.divmod(pair, world.items)), shape=(world.users, world.items))


def _products(left: csr_array, right: csr_array, item_BN: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the cells (b, item_BN[b]) of the product of two matrices, of which the second has a column per item."""
    cells_BN, rows = np.empty(item_BN.shape), max(1, _DENSE_CELLS // right.shape[1])
    for first in range(0, len(item_BN), rows):
        part = slice(first, first + rows)
        cells_BN[part] = np.take_along_axis((left[part] @ right).toarray(), np.maximum(item_BN[part], 0), axis=1)
    return cells_BN


def _logistic_weights(features_EF: NDArray[np.float64], is_saved_E: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the weights of a logistic regression with a small ridge, by Newton's method."""
    weight_F = np.zeros(features_EF.shape[1])
    for _ in range(_STEPS):
        chance_E = expit(features_EF @ weight_F)
        gradient_F = features_EF.T @ (is_saved_E - chance_E) - _RIDGE * weight_F
        spread_EF = features_EF * (chance_E * (1 - chance_E))[:, None]
        weight_F += np.linalg.solve(spread_EF.T @ features_EF + _RIDGE * np.eye(len(weight_F)), gradient_F)
    return weight_F
