"""Implicit interests by self-attention, ComiRec-SA (Cen et al. 2020, arXiv 2005.09347).

    A = softmax over events of W2ᵀ tanh(W1 (E + positions))        interests = A·E, without the positions

Legend: B users · L history, column 0 the most recent · K interests · D width.
"""

from typing import Final

import torch
from torch import Generator, Tensor, nn

from multitudes.nn.interest_assignment import ImplicitInterests, attend_to_events, scale_items

_POSITIONS: Final = 100  # that are learned; older events share the last
_EXPANSION: Final = 4  # width of the hidden layer, in multiples of that of the model (ComiRec)


class SelfAttention(nn.Module):
    """ComiRec-SA: each interest is a learned attention head over the history.

    Trained with the plain argmax, one interest takes all events; the paper trains it with straight-through
    Gumbel-softmax (``association = "gumbel"``).

    Deviations: a position is the recency rank among the valid events, so that unusable events shift nothing; items are
    scaled for the attention, since short vectors make it flat.
    """

    def __init__(self, settings: None, interests: int, width: int) -> None:
        super().__init__()
        del settings  # it has none
        self.position = nn.Embedding(_POSITIONS, width)
        nn.init.normal_(self.position.weight, std=0.1)
        self.hidden = nn.Linear(width, _EXPANSION * width, bias=False)  # W1
        self.heads = nn.Linear(_EXPANSION * width, interests, bias=False)  # W2

    def forward(self, item_BLD: Tensor, valid_BL: Tensor, generator: Generator | None = None) -> ImplicitInterests:
        """Attend to each history; the same in training and in serving; see ``ImplicitModule``."""
        del generator
        rank_BL = (valid_BL.to(torch.int64).cumsum(dim=1) - 1).clamp(min=0, max=_POSITIONS - 1)
        placed_BLD = scale_items(item_BLD) + self.position(rank_BL)
        return attend_to_events(self.heads(self.hidden(placed_BLD).tanh()), item_BLD, valid_BL)
