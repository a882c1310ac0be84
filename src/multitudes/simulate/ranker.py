"""The ranker that all arms share: it sees what users want through noise, the same noise in every arm.

Legend: B visitors · N candidates · S slots.
"""

import numpy as np
from numpy.typing import NDArray

from multitudes.simulate.draws import normal


def shown(
    seed: int,
    day: int,
    user_B: NDArray[np.int64],
    item_BN: NDArray[np.int64],
    appeal_BN: NDArray[np.float32],
    slots: int,
    noise: float,
) -> NDArray[np.int64]:
    """Return which candidates are shown, best first (B, S): positions in N, empty candidates last.

    Args:
        seed: of the world.
        day: the noise is drawn anew each day.
        user_B: who looks.
        item_BN: the candidates.
        appeal_BN: what each is worth to them; -inf where there is none.
        slots: S.
        noise: deviation of what the ranker does not see.
    """
    unseen_BN = noise * normal(seed, "ranker", day, user_B[:, None], item_BN)
    return np.argsort(-(appeal_BN + unseen_BN), axis=1, kind="stable")[:, :slots]
