"""User vectors, as retrieval searches with them: ONNX computes them in serving, torch in evaluation. No torch here."""

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

InterestKind = Literal["unconditioned", "implicit", "explicit"]
INTEREST_KINDS: tuple[InterestKind, ...] = get_args(InterestKind)
# The implicit interests of a user: the model's own, or a control: those of a random division of the history, or its own
# on the conditions of another user.
Partition = Literal["interests", "random", "other_user"]


class UserVectors(NamedTuple):
    """The K vectors of each of B users; the kind of column k is ``kinds[k]``, the same for every user."""

    kinds: tuple[InterestKind, ...]
    vectors_BKD: NDArray[np.float32]
    weight_BK: NDArray[np.float32]  # importance within its kind; zero where masked
    mask_BK: NDArray[np.bool_]  # True = the user has this vector
    topic_BK: NDArray[np.int64]  # the condition of an explicit vector, else 0
    assignment_BL: NDArray[np.int64]  # column k of the interest that each history event belongs to, -1 = none

    def select(self, chosen: slice | NDArray[np.int64]) -> "UserVectors":
        """Return the vectors of some of the users."""
        return UserVectors(
            self.kinds,
            self.vectors_BKD[chosen],
            self.weight_BK[chosen],
            self.mask_BK[chosen],
            self.topic_BK[chosen],
            self.assignment_BL[chosen],
        )
