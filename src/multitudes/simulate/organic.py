"""What users save by themselves, outside of the feed: equal in all arms, and the past that a model learns from."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.simulate import draws
from multitudes.simulate.catalogue import Catalogue, at
from multitudes.simulate.people import Activity, counted
from multitudes.simulate.tastes import Tastes
from multitudes.simulate.world_config import WorldConfig


class Actions(NamedTuple):
    """What users did, sorted by user and time."""

    user_E: NDArray[np.int64]
    item_E: NDArray[np.int64]
    time_E: NDArray[np.int64]  # seconds since 1970
    action_E: NDArray[np.int8]

    def part(self, rows: slice) -> "Actions":
        """Return some of them."""
        return Actions(self.user_E[rows], self.item_E[rows], self.time_E[rows], self.action_E[rows])


def saves(
    config: WorldConfig, catalogue: Catalogue, tastes: Tastes, day: int, activity: Activity
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return user, item and number within the day of what is saved on ``day``."""
    seed = config.seed
    count_U = _counts(config, day, activity)
    user_B = np.flatnonzero(count_U)
    row_E = np.repeat(np.arange(len(user_B)), count_U[user_B])
    user_E = user_B[row_E]
    number_E = np.arange(len(user_E)) - np.repeat(np.cumsum(count_U[user_B]) - count_U[user_B], count_U[user_B])
    liked = tastes.on(day, user_B)
    upto_BK = np.cumsum(liked.weight_BK, axis=1)
    draw_E = draws.uniform(seed, "organic taste", day, user_E, number_E)
    of_E = (draw_E[:, None] * upto_BK[row_E, -1:] >= upto_BK[row_E, :-1]).sum(axis=1)
    held_E = liked.niche_BK[row_E, of_E].astype(np.int64)
    kind_E = draws.uniform(seed, "organic kind", day, user_E, number_E)
    anywhere_E = at(catalogue.niche_upto, draws.uniform(seed, "organic stray", day, user_E, number_E))
    niche_E = np.where(kind_E < config.stray_share, anywhere_E, held_E)
    item_E = catalogue.shelf.pick(day, niche_E, draws.uniform(seed, "organic item", day, user_E, number_E))
    again_E = kind_E >= 1 - (1 - config.stray_share) * config.return_share
    which_E = (draws.uniform(seed, "favourite", day, user_E, number_E) * config.favourites).astype(np.int64)
    # What somebody returns to is a function of them and the niche, among what was there before.
    favourite_E = draws.uniform(seed, "favourite item", user_E, niche_E, which_E)
    item_E[again_E] = catalogue.shelf.pick(min(day, -config.horizon), niche_E[again_E], favourite_E[again_E])
    return user_E, item_E, number_E


def _counts(config: WorldConfig, day: int, activity: Activity) -> NDArray[np.int64]:
    """Return how many saves each user makes."""
    user_U = np.arange(config.users)
    chance_U = config.organic_share * activity.chance(day)
    is_on_U = draws.uniform(config.seed, "organic day", day, user_U) < chance_U
    mean_U = np.maximum(config.organic_saves * np.exp(activity.ready_U) - 1, 0)
    return is_on_U * (1 + counted(draws.uniform(config.seed, "organic", day, user_U), mean_U))
