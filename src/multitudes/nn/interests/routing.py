"""Implicit interests by routing with one shared map, MIND (Li et al. 2019, arXiv 1904.08030).

Legend: B users · L history, column 0 the most recent · K interests · D width.
"""

from torch import Generator, Tensor, nn

from multitudes.nn.interest_assignment import (
    ImplicitInterests,
    assign_events,
    fixed_noise,
    participation_mask,
    route_by_agreement,
    scale_items,
    slots_by_log_events,
    start_noise,
)


class Routing(nn.Module):
    """MIND: events are divided among interests that differ only by their random start.

    Deviations: in evaluation the random start is fixed by position in the history, the same for every user (MIND draws
    it once and stores it; its public ports draw on each call); items are scaled before routing, as
    in the clustering, for a fair comparison; no label-aware attention, whose limit is the hard argmax.
    """

    noise_PK: Tensor

    def __init__(self, settings: None, interests: int, width: int) -> None:
        super().__init__()
        del settings  # it has none
        self.interests = interests
        self.bilinear = nn.Linear(width, width, bias=False)  # S, shared by all events and interests
        nn.init.eye_(self.bilinear.weight)
        self.register_buffer("noise_PK", fixed_noise(interests), persistent=False)

    def forward(self, item_BLD: Tensor, valid_BL: Tensor, generator: Generator | None = None) -> ImplicitInterests:
        """Route each history; the generator draws the start, which is fixed without one; see ``ImplicitModule``."""
        exists_BK = slots_by_log_events(valid_BL, self.interests)
        vote_BLD = self.bilinear(scale_items(item_BLD))
        vote_BLKD = vote_BLD.unsqueeze(2).expand(-1, -1, self.interests, -1)
        logit_BLK = start_noise(valid_BL, self.noise_PK, generator)
        return assign_events(*route_by_agreement(vote_BLKD, logit_BLK, participation_mask(valid_BL, exists_BK)))
