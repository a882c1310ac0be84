"""The unconditioned interest: one vector per user, as in a vanilla two-tower model."""

import torch
from torch import Tensor, nn

from multitudes.nn.interest_assignment import Interests


class Unconditioned(nn.Module):
    """One learned condition, the same for every user, so that the vector depends only on the user's features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.condition_D = nn.Parameter(torch.zeros(width))

    def forward(self, known_B: Tensor) -> Interests:
        """Return K = 1 interest; it exists where ``known_B``: the user has a history or followed topics."""
        batch = known_B.shape[0]
        vectors_BKD = self.condition_D.expand(batch, 1, -1)
        mask_BK = known_B.unsqueeze(1)
        return Interests(vectors_BKD, mask_BK.to(vectors_BKD.dtype), mask_BK)
