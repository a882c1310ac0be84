"""The control of every claim about interests: the history split at random into as many parts (method §9).

What a random split reaches too is the effect of having several vectors, not of having interests. It stands in for the
interests of a trained model in evaluation (``random_partition``), and as a method that is trained on random parts.

Legend: B users · L history, column 0 the most recent · K interests · D width.
"""

import torch
from torch import Tensor, nn

from multitudes.nn.interest_assignment import (
    ImplicitInterests,
    assign_events,
    fixed_noise,
    slots_by_events,
    start_noise,
)


class RandomPartition(nn.Module):
    """Deals the events at random to K parts: afresh in each step of training, by place in evaluation and serving."""

    noise_P1: Tensor

    def __init__(self, config: None, interests: int, width: int) -> None:
        super().__init__()
        del config, width  # no settings, nothing to learn
        self.interests = interests
        self.register_buffer("noise_P1", fixed_noise(1), persistent=False)

    def forward(
        self, item_BLD: Tensor, valid_BL: Tensor, generator: torch.Generator | None = None
    ) -> ImplicitInterests:
        """Part each history.

        Args:
            item_BLD: history item vectors.
            valid_BL: True = real and usable; others take part in nothing.
            generator: deals the events in training. None (evaluation, serving): fixed by place.
        """
        order_BL = start_noise(valid_BL, self.noise_P1, generator).squeeze(2)
        exists_BK = slots_by_events(valid_BL, self.interests)
        return random_partition(item_BLD, valid_BL, exists_BK, order_BL)


def random_partition(item_BLD: Tensor, valid_BL: Tensor, exists_BK: Tensor, order: Tensor) -> ImplicitInterests:
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
    return assign_events(mean_BKD, share_BLK)
