"""The result that every interest module and the user tower share."""

from typing import NamedTuple

from torch import Tensor


class Interests(NamedTuple):
    """K interests of B users: conditions before the user tower, user vectors after it."""

    vectors_BKD: Tensor
    weight_BK: Tensor  # importance, >= 0, zero where masked; sums to one over k unless all are masked
    mask_BK: Tensor  # True = this interest exists for this user


class Implicit(NamedTuple):
    """What a module that finds interests in a history returns."""

    interests: Interests
    assignment_BL: Tensor  # int64, the interest that each history event belongs to, -1 = none
    routing_BLK: Tensor  # how much each event counts in each interest, zero where it takes no part
