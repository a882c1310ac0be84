"""The control of every claim about interests: the history split at random into as many parts (method §9).

What a random split reaches too is the effect of having several vectors, not of having interests.
"""

import torch
from torch import Tensor

from multitudes.nn.interests.interests import Interests


def random_partition(
    item_BLD: Tensor, valid_BL: Tensor, exists_BK: Tensor, order_L: Tensor
) -> tuple[Interests, Tensor]:
    """Deal the valid items of each user at random to as many parts as the user has interests.

    Args:
        item_BLD: history item vectors.
        valid_BL: True = real and usable.
        exists_BK: the mask of the interests that the control stands in for; the parts are of even size.
        order_L: random numbers, one for each place of a history, by which items are dealt. The same for every user, so
            that a user's parts do not depend on who else is in the batch.

    Returns:
        The parts as interests (condition = mean of the part) and the part of each item (B, L), -1 = none.
    """
    rank_BL = (order_L + (~valid_BL) * 2.0).argsort(dim=1).argsort(dim=1)
    parts_B1 = exists_BK.sum(dim=1, keepdim=True).clamp(min=1)
    slot_BK = exists_BK.to(torch.int64).argsort(dim=1, descending=True, stable=True)  # the existing columns first
    part_BL = slot_BK.gather(1, rank_BL % parts_B1)
    part_BL = torch.where(valid_BL & exists_BK.any(dim=1, keepdim=True), part_BL, -1)
    member_BKL = part_BL.unsqueeze(1) == torch.arange(exists_BK.shape[1], device=part_BL.device).view(1, -1, 1)
    count_BK = member_BKL.sum(dim=2)
    centre_BKD = member_BKL.to(item_BLD.dtype) @ item_BLD / count_BK.clamp(min=1).unsqueeze(2)
    weight_BK = count_BK / count_BK.sum(dim=1, keepdim=True).clamp(min=1)
    return Interests(centre_BKD, weight_BK.to(item_BLD.dtype), count_BK > 0), part_BL
