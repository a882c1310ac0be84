"""Implicit interests by routing with a map per interest, ComiRec-DR (Cen et al. 2020, arXiv 2005.09347).

Legend: B users · L history, column 0 the most recent · K interests · D width.
"""

import torch
from torch import Generator, Tensor, nn

from multitudes.nn.interest_assignment import (
    ImplicitInterests,
    assign_events,
    participation_mask,
    route_by_agreement,
    scale_items,
    slots_by_events,
)


class DynamicRouting(nn.Module):
    """ComiRec-DR: events are divided among interests, and each interest sees them through its own map.

    It differs from MIND in three ways. Each interest has a map W_j instead of one shared S, so interests have learned
    meanings that are the same for every user. Routing starts at zero instead of random numbers: only the maps
    distinguish interests. Every user has K interests, if there are enough events; in MIND, K depends on the history.

    Deviation: ComiRec's code learns a map for each (position, interest), this one for each interest: positions then
    mean the same at any length of the history, and L times fewer weights learn from L times more events each. Maps
    start halfway between the identity and a random one, so that interests are close to their items from the first step.
    """

    def __init__(self, settings: None, interests: int, width: int) -> None:
        super().__init__()
        del settings  # it has none
        self.interests = interests
        self.map_KDD = nn.Parameter(torch.eye(width) + torch.randn(interests, width, width) / width**0.5)

    def forward(self, item_BLD: Tensor, valid_BL: Tensor, generator: Generator | None = None) -> ImplicitInterests:
        """Route each history; the same in training and in serving; see ``ImplicitModule``."""
        del generator
        exists_BK = slots_by_events(valid_BL, self.interests)
        vote_BLKD = torch.einsum("bld,kde->blke", scale_items(item_BLD), self.map_KDD)
        logit_BLK = torch.zeros_like(vote_BLKD[:, :, :, 0])
        return assign_events(*route_by_agreement(vote_BLKD, logit_BLK, participation_mask(valid_BL, exists_BK)))
