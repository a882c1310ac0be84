"""Who the users of a world are: their cohort, how often they come, since when, and what they follow."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from multitudes.simulate import draws
from multitudes.simulate.catalogue import at
from multitudes.simulate.tastes import Tastes
from multitudes.simulate.world_config import COHORTS, WorldConfig

INFORMATIVE, STALE, ASPIRATIONAL = range(3)


class Activity(NamedTuple):
    """How often users are there, if the mood is neutral."""

    cohort_U: NDArray[np.int8]
    visit_U: NDArray[np.float64]  # chance on a day on which they are there at all
    left_U: NDArray[np.int64]  # the day on which they went away
    back_U: NDArray[np.int64]  # the day from which on they are there (again)

    def chance(self, day: int) -> NDArray[np.float64]:
        """Return each user's chance of being active on ``day``."""
        return np.where((day < self.left_U) | (day >= self.back_U), self.visit_U, 0.0)


class Follows(NamedTuple):
    """What users follow, sorted by user and topic: pairs without repeats."""

    offset: NDArray[np.int64]  # U + 1
    topic: NDArray[np.int64]
    kind: NDArray[np.int8]  # INFORMATIVE, STALE or ASPIRATIONAL


def activity(config: WorldConfig) -> Activity:
    """Draw who comes how often, and since when."""
    seed, user_U = config.seed, np.arange(config.users)
    cohort_U = at(np.cumsum(config.cohort_share), draws.uniform(seed, "cohort", user_U))
    usual_U = logit(np.asarray(config.cohort_visits))[cohort_U]
    visit_U = expit(usual_U + config.visits_spread * draws.normal(seed, "visits", user_U))
    arrive_U = (draws.uniform(seed, "arrival", user_U) * config.horizon).astype(np.int64)
    never, always = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    left_U = np.full(config.users, always)
    back_U = np.full(config.users, never)
    for name, left in (("resurrected", -config.lapse_days), ("new", never)):
        of_U = cohort_U == COHORTS.index(name)
        left_U[of_U], back_U[of_U] = left, arrive_U[of_U]
    return Activity(cohort_U.astype(np.int8), visit_U, left_U, back_U)


def follows(config: WorldConfig, tastes: Tastes, niche_topic: NDArray[np.int64]) -> Follows:
    """Draw what users follow. Nothing but the informative ones knows what they like now."""
    seed = config.seed
    count_U = counted(draws.uniform(seed, "follows", np.arange(config.users)), np.full(config.users, config.follows))
    user_E = np.repeat(np.arange(config.users), count_U)
    number_E = np.arange(len(user_E)) - np.repeat(np.cumsum(count_U) - count_U, count_U)
    kind_draw_E = draws.uniform(seed, "follow kind", user_E, number_E)
    stale_upto = config.informative_follows + (1 - config.informative_follows) * config.stale_share
    kind_E = np.where(kind_draw_E < config.informative_follows, INFORMATIVE, ASPIRATIONAL)
    kind_E = np.where((kind_E == ASPIRATIONAL) & (kind_draw_E < stale_upto), STALE, kind_E)
    liked = tastes.on(0, np.arange(config.users))
    upto_UK = np.cumsum(liked.weight_BK[:, : config.tastes], axis=1)
    draw_E = draws.uniform(seed, "follow of taste", user_E, number_E)
    of_E = (draw_E[:, None] * upto_UK[user_E, -1:] >= upto_UK[user_E, :-1]).sum(axis=1)
    anywhere_E = at(tastes.niche_upto, draws.uniform(seed, "follow of any", user_E, number_E))
    niche_E = np.select(
        [kind_E == INFORMATIVE, kind_E == STALE],
        [liked.niche_BK[user_E, of_E].astype(np.int64), tastes.before(user_E, of_E)],
        anywhere_E,
    )
    pair_E = user_E * config.topics + niche_topic[niche_E]
    _, first = np.unique(pair_E, return_index=True)
    offset = np.append(0, np.cumsum(np.bincount(user_E[first], minlength=config.users)))
    return Follows(offset, niche_topic[niche_E[first]], kind_E[first].astype(np.int8))


def counted(draw: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return geometric numbers 0, 1, 2 … of these means from uniform draws: people spread more than Poisson has it."""
    with np.errstate(divide="ignore"):
        return np.floor(np.log1p(-draw) / np.log(mean / (1 + mean))).astype(np.int64)
