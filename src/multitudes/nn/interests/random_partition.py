"""The control of every claim about interests: the history split at random into as many parts (method §9).

What a random split reaches too is the effect of having several vectors, not of having interests. It stands in for the
interests of a trained model in evaluation (``random_partition``), and as a method that is trained on random parts.

Legend: B users · L history, column 0 the most recent · K interests · D width.
"""

import torch
from torch import Tensor, nn

from multitudes.nn.interests.interests import Implicit
from multitudes.nn.interests.noise import by_place, start
from multitudes.nn.interests.slots import as_many_as_events, filled


class RandomPartition(nn.Module):
    """Deals the events at random to K parts: afresh in each step of training, by place in evaluation and serving."""

    noise_P1: Tensor

    def __init__(self, interests: int) -> None:
        super().__init__()
        self.interests = interests
        self.register_buffer("noise_P1", by_place(1), persistent=False)

    def forward(self, item_BLD: Tensor, valid_BL: Tensor, generator: torch.Generator | None = None) -> Implicit:
        """Part each history.

        Args:
            item_BLD: history item vectors.
            valid_BL: True = real and usable; others take part in nothing.
            generator: deals the events in training. None (evaluation, serving): fixed by place.
        """
        order_BL = start(valid_BL, self.noise_P1, generator).squeeze(2)
        exists_BK = as_many_as_events(valid_BL, self.interests)
        return random_partition(item_BLD, valid_BL, exists_BK, order_BL)


def random_partition(item_BLD: Tensor, valid_BL: Tensor, exists_BK: Tensor, order: Tensor) -> Implicit:
    """Deal the valid items of each user at random to as many parts as the user has interests.

    Args:
        item_BLD: history item vectors.
        valid_BL: True = real and usable.
        exists_BK: the mask of the interests that the control stands in for; the parts are of even size.
        order: random numbers by which items are dealt, (B, L), or (L,) for all users alike: a user's parts then do
            not depend on who else is in the batch.

    Returns:
        The parts as interests (condition = mean of the part) and the part of each item.
    """
    earlier_BLL = (order.unsqueeze(-2) < order.unsqueeze(-1)) & valid_BL.unsqueeze(1)
    rank_BL = earlier_BLL.sum(dim=2)
    part_BL = rank_BL % exists_BK.sum(dim=1, keepdim=True).clamp(min=1)
    # The p-th part goes to the p-th interest that exists.
    existing_BK = exists_BK.cumsum(dim=1) - 1
    share_BLK = (part_BL.unsqueeze(2) == existing_BK.unsqueeze(1)) & exists_BK.unsqueeze(1) & valid_BL.unsqueeze(2)
    share_BLK = share_BLK.to(item_BLD.dtype)
    mean_BKD = share_BLK.transpose(1, 2) @ item_BLD / share_BLK.sum(dim=1).clamp(min=1.0).unsqueeze(2)
    return filled(mean_BKD, share_BLK)
