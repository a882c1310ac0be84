"""The control of every claim about interests: a random partition of the history into as many groups.

It measures the effect of several vectors as such. In evaluation it replaces the interests of a trained model
(``random_partition``); as a method, it is trained on random groups. Its conditions have the length of those that it is
compared with: a model that was trained on conditions of length one reads shorter ones as weaker, and the control would
lose for its scale.

Legend: B users · L history, column 0 the most recent · K interests · D width.
"""

from torch import Generator, Tensor, nn

from multitudes.nn.interest_assignment import (
    ImplicitInterests,
    Interests,
    assign_events,
    fixed_noise,
    scale_items,
    slots_by_events,
    start_noise,
)
from multitudes.nn.primitives import l2_normalize, length_of, squash


class RandomPartition(nn.Module):
    """Assigns events to K groups: at random in each training step, by fixed noise in evaluation and serving."""

    noise_P1: Tensor

    def __init__(self, settings: None, interests: int, width: int) -> None:
        super().__init__()
        del settings, width  # nothing to learn
        self.interests = interests
        self.register_buffer("noise_P1", fixed_noise(1), persistent=False)

    def forward(self, item_BLD: Tensor, valid_BL: Tensor, generator: Generator | None = None) -> ImplicitInterests:
        """Partition each history, by the generator or by position; see ``ImplicitModule``.

        The condition of a group is its squashed sum, as the centre of a cluster is.
        """
        order_BL = start_noise(valid_BL, self.noise_P1, generator).squeeze(2)
        exists_BK = slots_by_events(valid_BL, self.interests)
        share_BLK = random_groups(valid_BL, exists_BK, order_BL).to(item_BLD.dtype)
        item_BLD = scale_items(item_BLD)
        return assign_events(squash(share_BLK.transpose(1, 2) @ item_BLD), share_BLK)


def replace_by_random_partition(
    replaced: Interests, item_BLD: Tensor, valid_BL: Tensor, order_L: Tensor
) -> ImplicitInterests:
    """Replace the interests of each user by a random partition into as many groups: the control in evaluation.

    ``order_L`` decides the assignment, the same for all users: the groups of a user do not depend on the others of the
    batch. A condition has the direction of the group's mean and the length of the interest that it replaces, so that
    the two differ by their events alone.
    """
    share_BLK = random_groups(valid_BL, replaced.mask_BK, order_L).to(item_BLD.dtype)
    length_BK1 = length_of(replaced.vectors_BKD)
    direction_BKD = l2_normalize(share_BLK.transpose(1, 2) @ l2_normalize(item_BLD))
    return assign_events(direction_BKD * length_BK1, share_BLK)


def random_groups(valid_BL: Tensor, exists_BK: Tensor, order: Tensor) -> Tensor:
    """Assign the valid items of each user to as many groups as the user has interests, of equal size up to one item.

    The random numbers ``order``, (B, L) or (L,), decide. Returns (B, L, K), True where an item is in a group.
    """
    earlier_BLL = (order.unsqueeze(-2) < order.unsqueeze(-1)) & valid_BL.unsqueeze(1)
    rank_BL = earlier_BLL.sum(dim=2)
    group_BL = rank_BL % exists_BK.sum(dim=1, keepdim=True).clamp(min=1)
    # The p-th group is the p-th interest that exists.
    existing_BK = exists_BK.cumsum(dim=1) - 1
    return (group_BL.unsqueeze(2) == existing_BK.unsqueeze(1)) & exists_BK.unsqueeze(1) & valid_BL.unsqueeze(2)
