"""Implicit interests by learned tokens: cross-attention of K queries over the history (Fan et al., KDD 2025).

It is the virtual-kernel part of MVKE (Xu et al. 2022, arXiv 2106.07356) without its gate.

Legend: B users · L history, column 0 the most recent · K interests · D width.
"""

import torch
from torch import Generator, Tensor, nn

from multitudes.nn.interest_assignment import ImplicitInterests, attend_to_events, scale_items


class Tokens(nn.Module):
    """K learned query tokens, the same for every user, with one head of attention.

    Trained with the plain argmax, one interest takes all events; the paper trains it with straight-through
    Gumbel-softmax (``association = "gumbel"``).

    Deviation: items are scaled for the keys, since short vectors make the attention flat; keys and
    values start as the identity, so that interests are close to their items from the first step.
    """

    def __init__(self, settings: None, interests: int, width: int) -> None:
        super().__init__()
        del settings  # it has none
        self.query_KD = nn.Parameter(torch.randn(interests, width))
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        for layer in (self.key, self.value):
            nn.init.eye_(layer.weight)

    def forward(self, item_BLD: Tensor, valid_BL: Tensor, generator: Generator | None = None) -> ImplicitInterests:
        """Attend to each history; the same in training and in serving; see ``ImplicitModule``."""
        del generator
        key_BLD = self.key(scale_items(item_BLD))
        logit_BLK = key_BLD @ self.query_KD.T / self.query_KD.shape[1] ** 0.5
        return attend_to_events(logit_BLK, self.value(item_BLD), valid_BL)
