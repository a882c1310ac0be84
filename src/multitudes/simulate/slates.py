"""What is retrieved for those who come, by whom: the seam between a day of a world and an arm.

Legend: B visitors · N candidates · I items.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from multitudes.simulate.diary import Diary

SOURCES = ("unconditioned", "implicit", "explicit", "popular")
EXPLICIT, POPULAR = SOURCES.index("explicit"), SOURCES.index("popular")
NONE = -1  # an item, interest or topic that is not there


class Slates(NamedTuple):
    """B × N candidates in the order of their ranks; a place that is left empty has item -1."""

    item_BN: NDArray[np.int64]
    source_BN: NDArray[np.int8]  # of SOURCES
    interest_BN: NDArray[np.int64]  # its number within the answer
    topic_BN: NDArray[np.int64]  # of an explicit interest
    score_BN: NDArray[np.float32]
    both_BN: NDArray[np.bool_]  # an implicit and an explicit interest have it among their own best
    degraded_B: NDArray[np.bool_]

    @classmethod
    def empty(cls, users: int, n: int) -> "Slates":
        """Return slates without candidates, to be filled."""
        nothing = np.full((users, n), NONE, dtype=np.int64)
        return cls(
            nothing,
            np.full((users, n), POPULAR, dtype=np.int8),
            nothing.copy(),
            nothing.copy(),
            np.zeros((users, n), dtype=np.float32),
            np.zeros((users, n), dtype=np.bool_),
            np.zeros(users, dtype=np.bool_),
        )


class Policy(Protocol):
    """Retrieves candidates for visitors. Equal for any division of the visitors into calls."""

    name: str  # of the release, in the log

    def slates(self, day: int, user_B: NDArray[np.int64], time_B: NDArray[np.int64], diary: Diary) -> Slates:
        """Return what is retrieved for each of B visitors, of which nothing is in their past."""
        ...
