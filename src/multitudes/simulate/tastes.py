"""What users like on a day: several niches for long, which grow, fade and give way, and at times one in a burst.

All of it is a function of the day, so any day can be asked for, in any order.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.simulate import draws
from multitudes.simulate.catalogue import at
from multitudes.simulate.world_config import WorldConfig


class Liked(NamedTuple):
    """What users like on a day. The last column is the burst; its weight is 0 where there is none."""

    niche_BK: NDArray[np.int16]
    weight_BK: NDArray[np.float32]  # sums to 1


@dataclass(frozen=True)
class Tastes:
    """The tastes of all users over time."""

    config: WorldConfig
    niche_upto: NDArray[np.float64]

    def on(self, day: int, user_B: NDArray[np.int64]) -> Liked:
        """Return what users like on ``day``."""
        config = self.config
        held_BK, age_BK, slot_K = self._turn(day, user_B)
        own_BK = draws.exponential(config.seed, "taste weight", user_B[:, None], slot_K)
        grown_BK = np.sin(np.pi * age_BK) ** 2 if config.tastes > 1 else np.ones_like(age_BK)
        weight_BK = own_BK * grown_BK + 1e-9
        weight_BK /= weight_BK.sum(axis=1, keepdims=True)
        burst_B, is_on_B = self._bursts(day, user_B)
        taken_B = np.where(is_on_B, config.burst_weight, 0.0)[:, None]
        return Liked(
            np.column_stack([self._niches(user_B, held_BK), burst_B]).astype(np.int16),
            np.column_stack([weight_BK * (1 - taken_B), taken_B]).astype(np.float32),
        )

    def before(self, user_B: NDArray[np.int64], taste_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the niche that somebody had in the place of each taste before the one of day 0."""
        held_BK, _, _ = self._turn(0, user_B)
        return self._niches(user_B, held_BK - 1)[np.arange(len(user_B)), taste_B]

    def _turn(
        self, day: int, user_B: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Return how many tastes each place has had, the age of the present one as a share, and the places."""
        slot_K = np.arange(self.config.tastes)
        phase_BK = draws.uniform(self.config.seed, "taste phase", user_B[:, None], slot_K)
        at_BK = day / self.config.taste_life_days + phase_BK
        held_BK = np.floor(at_BK)
        return held_BK.astype(np.int64), at_BK - held_BK, slot_K

    def _niches(self, user_B: NDArray[np.int64], held_BK: NDArray[np.int64]) -> NDArray[np.int64]:
        slot_K = np.arange(held_BK.shape[1])
        return at(self.niche_upto, draws.uniform(self.config.seed, "taste", user_B[:, None], slot_K, held_BK))

    def _bursts(self, day: int, user_B: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the niche of the burst that may be on, and whether it is."""
        phase_B = draws.uniform(self.config.seed, "burst phase", user_B)
        number_B = np.floor(day / self.config.burst_days + phase_B).astype(np.int64)
        is_on_B = draws.uniform(self.config.seed, "burst is on", user_B, number_B) < self.config.burst_share
        return at(self.niche_upto, draws.uniform(self.config.seed, "burst", user_B, number_B)), is_on_B
