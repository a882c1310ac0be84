"""What a user does with a list: how far they look, what they tire of, and what they make of each item.

Legend: B users · S places of the list.

What users save by themselves, outside of the feed: equal in all arms, and the past that a model learns from.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.simulation import draws
from multitudes.simulation.catalogue import Catalogue, category_at
from multitudes.simulation.population import Activity, Tastes, geometric_counts
from multitudes.simulation.world_config import WorldConfig

NOTHING, CLICK, SAVE, HIDE = range(4)


def is_examined(config: WorldConfig, day: int, user_B: NDArray[np.int64], slots: int) -> NDArray[np.bool_]:
    """Return which places each user looks at (B, S): the first ones, as deep as the day's patience."""
    patience_B = draws.exponential(config.seed, "depth", day, user_B)
    deep_B = patience_B / -np.log1p(-1 / (config.depth + 1e-9))
    return np.asarray(np.arange(slots) <= deep_B[:, None])


def same_niche_above(niche_BS: NDArray[np.int16]) -> NDArray[np.int64]:
    """Return for each place how many items of its niche stand above it; what is negative is no item."""
    count_BS = np.zeros(niche_BS.shape, dtype=np.int64)
    for place in range(1, niche_BS.shape[1]):
        count_BS[:, place] = np.count_nonzero(niche_BS[:, :place] == niche_BS[:, place : place + 1], axis=1)
    return count_BS


def draw_actions(
    config: WorldConfig, draw_BS: NDArray[np.float64], odds_BS: NDArray[np.floating], click_BS: NDArray[np.floating]
) -> NDArray[np.int8]:
    """Return what is done with examined items, of the odds of a save and of a click in odds of a save.

    One draw decides, so that more appeal never makes less of an item in another arm.
    """
    save_BS = odds_BS / (1 + odds_BS)
    more_BS = odds_BS * (1 + click_BS)
    touch_BS = more_BS / (1 + more_BS)
    hide_BS = config.hide_share * (1 - touch_BS) ** 2
    action_BS = np.where(draw_BS >= 1 - hide_BS, np.int8(HIDE), np.int8(NOTHING))
    action_BS[draw_BS < touch_BS] = CLICK
    action_BS[draw_BS < save_BS] = SAVE
    return action_BS


class Actions(NamedTuple):
    """What users did, sorted by user and time."""

    user_E: NDArray[np.int64]
    item_E: NDArray[np.int64]
    time_E: NDArray[np.int64]  # seconds since 1970
    action_E: NDArray[np.int8]

    def select(self, rows: slice) -> "Actions":
        """Return some of them."""
        return Actions(self.user_E[rows], self.item_E[rows], self.time_E[rows], self.action_E[rows])


def organic_saves(
    config: WorldConfig, catalogue: Catalogue, tastes: Tastes, day: int, activity: Activity
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return user, item and number within the day of what is saved on ``day``."""
    seed = config.seed
    count_U = _organic_counts(config, day, activity)
    user_B = np.flatnonzero(count_U)
    row_E = np.repeat(np.arange(len(user_B)), count_U[user_B])
    user_E = user_B[row_E]
    number_E = np.arange(len(user_E)) - np.repeat(np.cumsum(count_U[user_B]) - count_U[user_B], count_U[user_B])
    liked = tastes.at_day(day, user_B)
    upto_BK = np.cumsum(liked.weight_BK, axis=1)
    draw_E = draws.uniform(seed, "organic taste", day, user_E, number_E)
    of_E = (draw_E[:, None] * upto_BK[row_E, -1:] >= upto_BK[row_E, :-1]).sum(axis=1)
    held_E = liked.niche_BK[row_E, of_E].astype(np.int64)
    kind_E = draws.uniform(seed, "organic kind", day, user_E, number_E)
    anywhere_E = category_at(catalogue.niche_cdf, draws.uniform(seed, "organic stray", day, user_E, number_E))
    niche_E = np.where(kind_E < config.stray_share, anywhere_E, held_E)
    item_E = catalogue.niche_index.draw_items(day, niche_E, draws.uniform(seed, "organic item", day, user_E, number_E))
    again_E = kind_E >= 1 - (1 - config.stray_share) * config.return_share
    which_E = (draws.uniform(seed, "favourite", day, user_E, number_E) * config.favourites).astype(np.int64)
    # What somebody returns to is a function of them and the niche, among what was there before.
    favourite_E = draws.uniform(seed, "favourite item", user_E, niche_E, which_E)
    item_E[again_E] = catalogue.niche_index.draw_items(
        min(day, -config.horizon), niche_E[again_E], favourite_E[again_E]
    )
    return user_E, item_E, number_E


def _organic_counts(config: WorldConfig, day: int, activity: Activity) -> NDArray[np.int64]:
    """Return how many saves each user makes."""
    user_U = np.arange(config.users)
    chance_U = config.organic_share * activity.chance(day)
    is_on_U = draws.uniform(config.seed, "organic day", day, user_U) < chance_U
    mean_U = np.maximum(config.organic_saves * np.exp(activity.ready_U) - 1, 0)
    return is_on_U * (1 + geometric_counts(draws.uniform(config.seed, "organic", day, user_U), mean_U))
