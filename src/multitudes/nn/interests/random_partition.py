"""The control of every claim about interests: a random partition of the history into as many groups.

It measures the effect of several vectors as such. In evaluation it replaces the interests of a trained model
(``random_partition``); as a method, it is trained on random groups.

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
    """Assigns events to K groups: at random in each training step, by fixed noise in evaluation and serving."""

    noise_P1: Tensor

    def __init__(self, config: None, interests: int, width: int) -> None:
        super().__init__()
        del config, width  # no settings, nothing to learn
        self.interests = interests
        self.register_buffer("noise_P1", fixed_noise(1), persistent=False)

    def forward(
        self, item_BLD: Tensor, valid_BL: Tensor, generator: torch.Generator | None = None
    ) -> ImplicitInterests:
        """Partition each history.

        Args:
            item_BLD: history item vectors.
            valid_BL: True = real and usable; other events are ignored.
            generator: draws the partition in training. None (evaluation, serving): fixed by position.
        """
        order_BL = start_noise(valid_BL, self.noise_P1, generator).squeeze(2)
        exists_BK = slots_by_events(valid_BL, self.interests)
        return random_partition(item_BLD, valid_BL, exists_BK, order_BL)


def random_partition(item_BLD: Tensor, valid_BL: Tensor, exists_BK: Tensor, order: Tensor) -> ImplicitInterests:
    """Assign the valid items of each user at random to as many groups as the user has interests.

    Args:
        item_BLD: history item vectors.
        valid_BL: True = real and usable.
        exists_BK: mask of the interests that the control replaces; the groups have equal size up to one item.
        order: random numbers that decide the assignment, (B, L), or (L,) for all users: the groups of a user then do
            not depend on the other users of the batch.

    Returns:
        The groups as interests (condition = mean of the group), and the group of each item.
    """
    earlier_BLL = (order.unsqueeze(-2) < order.unsqueeze(-1)) & valid_BL.unsqueeze(1)
    rank_BL = earlier_BLL.sum(dim=2)
    group_BL = rank_BL % exists_BK.sum(dim=1, keepdim=True).clamp(min=1)
    # The p-th group is the p-th interest that exists.
    existing_BK = exists_BK.cumsum(dim=1) - 1
    share_BLK = (group_BL.unsqueeze(2) == existing_BK.unsqueeze(1)) & exists_BK.unsqueeze(1) & valid_BL.unsqueeze(2)
    share_BLK = share_BLK.to(item_BLD.dtype)
    mean_BKD = share_BLK.transpose(1, 2) @ item_BLD / share_BLK.sum(dim=1).clamp(min=1.0).unsqueeze(2)
    return assign_events(mean_BKD, share_BLK)
