"""What users do: saves outside the feed, and reactions to a list in it.

Organic saves are the same in all arms; they are the past that the first model learns from.

Legend: B users · S slots of a list · E actions.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.data.arrays import expand_ranges
from multitudes_lab.simulation import constants, draws
from multitudes_lab.simulation.catalogue import Catalogue, category_at
from multitudes_lab.simulation.population import Activity, Tastes, geometric_counts
from multitudes_lab.simulation.world_config import WorldConfig

NOTHING, CLICK, SAVE, HIDE = range(4)


class Actions(NamedTuple):
    """Actions of users, sorted by user and time."""

    user_E: NDArray[np.int64]
    item_E: NDArray[np.int64]
    time_E: NDArray[np.int64]  # seconds since 1970
    action_E: NDArray[np.int8]


def same_niche_above(niche_BS: NDArray[np.int16]) -> NDArray[np.int64]:
    """Return for each slot the number of items of its niche above it (B, S); a negative niche is an empty slot."""
    count_BS = np.zeros(niche_BS.shape, dtype=np.int64)
    for place in range(1, niche_BS.shape[1]):
        count_BS[:, place] = np.count_nonzero(niche_BS[:, :place] == niche_BS[:, place : place + 1], axis=1)
    return count_BS


def draw_actions(
    draw_BS: NDArray[np.float64], odds_BS: NDArray[np.floating], click_BS: NDArray[np.floating]
) -> NDArray[np.int8]:
    """Return the reaction to each examined item (B, S).

    One uniform draw decides, so an item with more appeal in one arm never gets a lesser reaction there. The odds are of
    a save; those of a click are in units of the odds of a save.
    """
    save_BS = odds_BS / (1 + odds_BS)
    either_odds_BS = odds_BS * (1 + click_BS)
    either_BS = either_odds_BS / (1 + either_odds_BS)  # save or click
    hide_BS = constants.HIDE_SHARE * (1 - either_BS) ** 2
    action_BS = np.where(draw_BS >= 1 - hide_BS, np.int8(HIDE), np.int8(NOTHING))
    action_BS[draw_BS < either_BS] = CLICK
    action_BS[draw_BS < save_BS] = SAVE
    return action_BS


def organic_saves(
    config: WorldConfig, catalogue: Catalogue, tastes: Tastes, day: int, activity: Activity
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return user, item and number within the day of each organic save on ``day``."""
    seed = config.seed
    user_U = np.arange(config.users)
    is_on_U = draws.uniform(seed, "organic day", day, user_U) < constants.ORGANIC_SHARE * activity.chance(day)
    mean_U = np.maximum(constants.ORGANIC_SAVES * np.exp(activity.ready_U) - 1, 0)
    count_U = is_on_U * (1 + geometric_counts(draws.uniform(seed, "organic", day, user_U), mean_U))
    user_B = np.flatnonzero(count_U)
    row_E, number_E = expand_ranges(np.zeros_like(user_B), count_U[user_B])
    user_E = user_B[row_E]
    liked = tastes.at_day(day, user_B)
    cdf_BK = np.cumsum(liked.weight_BK, axis=1)
    draw_E = draws.uniform(seed, "organic taste", day, user_E, number_E)
    taste_E = (draw_E[:, None] * cdf_BK[row_E, -1:] >= cdf_BK[row_E, :-1]).sum(axis=1)
    taste_niche_E = liked.niche_BK[row_E, taste_E].astype(np.int64)
    kind_E = draws.uniform(seed, "organic kind", day, user_E, number_E)
    any_niche_E = category_at(catalogue.niche_cdf, draws.uniform(seed, "organic stray", day, user_E, number_E))
    niche_E = np.where(kind_E < constants.STRAY_SHARE, any_niche_E, taste_niche_E)
    item_E = catalogue.niche_index.draw_items(day, niche_E, draws.uniform(seed, "organic item", day, user_E, number_E))
    is_return_E = kind_E >= 1 - (1 - constants.STRAY_SHARE) * constants.RETURN_SHARE
    which_E = (draws.uniform(seed, "favourite", day, user_E, number_E) * constants.FAVOURITES).astype(np.int64)
    # The favourite that a user returns to is a function of user and niche, among the items from before the horizon.
    favourite_E = draws.uniform(seed, "favourite item", user_E, niche_E, which_E)
    item_E[is_return_E] = catalogue.niche_index.draw_items(
        min(day, -constants.HORIZON), niche_E[is_return_E], favourite_E[is_return_E]
    )
    return user_E, item_E, number_E
