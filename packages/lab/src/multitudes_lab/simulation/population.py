"""The users of a world: their tastes over time, their cohort and activity, and the topics that they follow.

A user has several long-term tastes, which grow, fade and are replaced, and at times a short burst of another one.
Tastes are a function of the day, so any day can be computed, in any order.

Legend: U users · B some users · K tastes · E follows.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from multitudes.data.arrays import expand_ranges
from multitudes_lab.simulation import constants, draws
from multitudes_lab.simulation.catalogue import category_at, next_niche
from multitudes_lab.simulation.world_config import WorldConfig

INFORMATIVE, STALE, ASPIRATIONAL = range(3)


class TasteWeights(NamedTuple):
    """The niches that users like on a day, and how much. The last column is the burst; weight 0: no burst."""

    niche_BK: NDArray[np.int16]
    weight_BK: NDArray[np.float32]  # sums to 1


@dataclass(frozen=True)
class Tastes:
    """The tastes of all users over time."""

    config: WorldConfig
    niche_cdf: NDArray[np.float64]

    def at_day(self, day: int, user_B: NDArray[np.int64]) -> TasteWeights:
        """Return the tastes of users on ``day``."""
        config = self.config
        cycle_BK, age_BK = self._taste_cycle(day, user_B)
        own_BK = draws.exponential(config.seed, "taste weight", user_B[:, None], np.arange(config.tastes))
        growth_BK = np.sin(np.pi * age_BK) ** 2 if config.tastes > 1 else np.ones_like(age_BK)
        weight_BK = own_BK * growth_BK + 1e-9
        weight_BK /= weight_BK.sum(axis=1, keepdims=True)
        burst_B, has_burst_B = self._bursts(day, user_B)
        burst_weight_B1 = np.where(has_burst_B, constants.BURST_WEIGHT, 0.0)[:, None]
        return TasteWeights(
            np.column_stack([self._niches(user_B, cycle_BK), burst_B]).astype(np.int16),
            np.column_stack([weight_BK * (1 - burst_weight_B1), burst_weight_B1]).astype(np.float32),
        )

    def previous_niches(self, user_B: NDArray[np.int64], taste_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the niche that each user liked in slot ``taste_B`` before the taste of day 0."""
        cycle_BK, _ = self._taste_cycle(0, user_B)
        return self._niches(user_B, cycle_BK - 1)[np.arange(len(user_B)), taste_B]

    def _taste_cycle(self, day: int, user_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the number of the present taste in each slot, and its age as a share of its life."""
        phase_BK = draws.uniform(self.config.seed, "taste phase", user_B[:, None], np.arange(self.config.tastes))
        time_BK = day / self.config.taste_life_days + phase_BK
        cycle_BK = np.floor(time_BK)
        return cycle_BK.astype(np.int64), time_BK - cycle_BK

    def _niches(self, user_B: NDArray[np.int64], cycle_BK: NDArray[np.int64]) -> NDArray[np.int64]:
        seed, slot_K = self.config.seed, np.arange(cycle_BK.shape[1])
        niche_BK = category_at(self.niche_cdf, draws.uniform(seed, "taste", user_B[:, None], slot_K, cycle_BK))
        if not self.config.overlap:
            return niche_BK
        # Every other slot may hold the neighbour of the taste before it, of the same cycle, so that it lasts as long.
        draw_BK = draws.uniform(seed, "taste is near", user_B[:, None], slot_K, cycle_BK)
        before = draws.uniform(seed, "taste", user_B[:, None], slot_K - 1, cycle_BK)
        is_near_BK = (draw_BK < self.config.overlap) & (slot_K % 2 == 1)
        return np.where(is_near_BK, next_niche(self.config, category_at(self.niche_cdf, before)), niche_BK)

    def _bursts(self, day: int, user_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the niche of each user's burst, and whether the burst is on."""
        phase_B = draws.uniform(self.config.seed, "burst phase", user_B)
        number_B = np.floor(day / constants.BURST_DAYS + phase_B).astype(np.int64)
        is_on_B = draws.uniform(self.config.seed, "burst is on", user_B, number_B) < self.config.burst_share
        return category_at(self.niche_cdf, draws.uniform(self.config.seed, "burst", user_B, number_B)), is_on_B


class Activity(NamedTuple):
    """How often users visit in a neutral mood."""

    cohort_U: NDArray[np.int8]
    visit_U: NDArray[np.float64]  # probability of a visit on a day between arrival and departure
    ready_U: NDArray[np.float32]  # readiness to save, in log-odds; 0 on average
    left_U: NDArray[np.int64]  # the first day without visits
    back_U: NDArray[np.int64]  # the first day with visits (again)

    def chance(self, day: int) -> NDArray[np.float64]:
        """Return each user's probability of activity on ``day``."""
        return np.where((day < self.left_U) | (day >= self.back_U), self.visit_U, 0.0)


class Follows(NamedTuple):
    """The topics that users follow, sorted by user and topic, without repeats."""

    offset: NDArray[np.int64]  # U + 1
    topic: NDArray[np.int64]
    kind: NDArray[np.int8]  # INFORMATIVE, STALE or ASPIRATIONAL


def draw_activity(config: WorldConfig) -> Activity:
    """Draw cohort, visit probability, readiness and arrival of each user."""
    seed, user_U = config.seed, np.arange(config.users)
    cohort_U = category_at(np.cumsum(constants.COHORT_SHARE), draws.uniform(seed, "cohort", user_U))
    cohort_logit_U = logit(np.asarray(constants.COHORT_VISITS))[cohort_U]
    visit_U = expit(cohort_logit_U + constants.VISITS_SPREAD * draws.normal(seed, "visits", user_U))
    ready_U = constants.READINESS_SPREAD * draws.normal(seed, "readiness", user_U)
    arrival_U = (draws.uniform(seed, "arrival", user_U) * constants.HORIZON).astype(np.int64)
    never, always = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    left_U = np.full(config.users, always)
    back_U = np.full(config.users, never)
    for name, left in (("resurrected", -constants.LAPSE_DAYS), ("new", never)):
        in_cohort_U = cohort_U == constants.COHORTS.index(name)
        left_U[in_cohort_U], back_U[in_cohort_U] = left, arrival_U[in_cohort_U]
    return Activity(cohort_U.astype(np.int8), visit_U, ready_U.astype(np.float32), left_U, back_U)


def draw_follows(config: WorldConfig, tastes: Tastes, niche_topic: NDArray[np.int64]) -> Follows:
    """Draw the topics that users follow. Only informative follows depend on what a user likes now."""
    seed, users = config.seed, config.users
    count_U = geometric_counts(draws.uniform(seed, "follows", np.arange(users)), np.full(users, constants.FOLLOWS))
    user_E, number_E = expand_ranges(np.zeros_like(count_U), count_U)
    stale_end = config.informative_follows + (1 - config.informative_follows) * constants.STALE_SHARE
    kind_cdf = np.array([config.informative_follows, stale_end, 1.0])
    kind_E = category_at(kind_cdf, draws.uniform(seed, "follow kind", user_E, number_E))
    liked = tastes.at_day(0, np.arange(users))
    place_E, has_taste_E = _taste_places(config, user_E, kind_E, liked.weight_BK[:, : config.tastes])
    any_niche_E = category_at(tastes.niche_cdf, draws.uniform(seed, "follow of any", user_E, number_E))
    niche_E = np.select(
        [kind_E == INFORMATIVE, kind_E == STALE],
        [liked.niche_BK[user_E, place_E].astype(np.int64), tastes.previous_niches(user_E, place_E)],
        any_niche_E,
    )
    topic_E = niche_topic[niche_E]
    _, first = np.unique((user_E * config.topics + topic_E)[has_taste_E], return_index=True)
    rows = np.flatnonzero(has_taste_E)[first]
    offset = np.append(0, np.cumsum(np.bincount(user_E[rows], minlength=users)))
    return Follows(offset, topic_E[rows], kind_E[rows].astype(np.int8))


def _taste_places(
    config: WorldConfig, user_E: NDArray[np.int64], kind_E: NDArray[np.int64], weight_UK: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the slot of the taste behind each follow, and whether any taste is left for it.

    The follows of one kind have distinct slots, drawn without replacement by weight (Efraimidis and Spirakis 2006).
    """
    users, tastes = weight_UK.shape
    waiting_UK = draws.exponential(config.seed, "follow of taste", np.arange(users)[:, None], np.arange(tastes))
    order_UK = np.argsort(waiting_UK / weight_UK, axis=1)
    number_E = np.zeros(len(user_E), dtype=np.int64)
    for kind in (INFORMATIVE, STALE):
        of_kind = np.flatnonzero(kind_E == kind)
        first = np.searchsorted(user_E[of_kind], user_E[of_kind])
        number_E[of_kind] = np.arange(len(of_kind)) - first
    return order_UK[user_E, np.minimum(number_E, tastes - 1)], number_E < tastes


def geometric_counts(draw: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return geometric numbers 0, 1, 2 … with these means from uniform draws; they spread more than Poisson numbers."""
    with np.errstate(divide="ignore"):
        return np.floor(np.log1p(-draw) / np.log(mean / (1 + mean))).astype(np.int64)
