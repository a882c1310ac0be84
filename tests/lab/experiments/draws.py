"""Random users of an experiment: their sessions and saves, before and after the exposure.

Legend: B users.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes_lab.experiments.moments import Moments, user_moments

Column = NDArray[np.float64]


class Drawn(NamedTuple):
    """Sums of each user."""

    saves_B: Column
    sessions_B: Column
    saves_before_B: Column
    sessions_before_B: Column

    def sums(self, *, cuped: bool = False) -> Moments:
        """Return the moments of saves per user, with those before as a covariate if ``cuped``."""
        columns = [self.saves_B, np.ones_like(self.saves_B), *([self.saves_before_B] if cuped else [])]
        return user_moments(np.stack(columns, axis=1))

    def ratio(self, *, cuped: bool = False) -> Moments:
        """Return the moments of saves per session."""
        before = [self.saves_before_B, self.sessions_before_B] if cuped else []
        return user_moments(np.stack([self.saves_B, self.sessions_B, *before], axis=1))


def draw(generator: np.random.Generator, n: int, lift: float = 0.0, active: float = 1.0) -> Drawn:
    """Return ``n`` users: activity is long-tailed, and each user has an own readiness to save.

    Args:
        generator: the random stream.
        n: number of users.
        lift: of saves, and of saves per session: the probability of a save in a session is higher by this share.
        active: share of users with any session.
    """
    often_B = generator.lognormal(1.0, 0.8, n) * (generator.random(n) < active)
    ready_B = 0.8 * generator.beta(1, 4, n)
    sessions_B, before_B = generator.poisson(often_B), generator.poisson(often_B)
    saves_B = generator.binomial(sessions_B, np.minimum(ready_B * (1 + lift), 1))
    saves_before_B = generator.binomial(before_B, ready_B)
    return Drawn(*(column.astype(np.float64) for column in (saves_B, sessions_B, saves_before_B, before_B)))
