"""Implicit interests by self-attention, ComiRec-SA (Cen et al. 2020, arXiv 2005.09347).

    A = softmax over events of W2ᵀ tanh(W1 (E + positions))        interests = A·E, without the positions

Legend: B users · L history, column 0 the most recent · K interests · D width.
"""

from typing import Final

import torch
from pydantic import Field
from torch import Tensor, nn

from multitudes.config import Config
from multitudes.nn.interest_assignment import ImplicitInterests, attend_to_events
from multitudes.nn.primitives import scale_to

_EXPANSION: Final = 4  # width of the hidden layer, in multiples of that of the model (ComiRec)


class SelfAttentionConfig(Config):
    """Settings of the self-attention."""

    places: int = Field(100, ge=1, description="number of learned positions; older events share the last")
    item_norm: float = Field(
        4.0,
        ge=0,
        description="length to which items are scaled for the attention; 0: not scaled (ComiRec)",
    )


class SelfAttention(nn.Module):
    """ComiRec-SA: each interest is a learned attention head over the history.

    Trained with the plain argmax, one interest takes all events; the paper trains it with straight-through
    Gumbel-softmax (``association = "gumbel"``).

    Deviations: a position is the recency rank among the valid events, so that unusable events shift nothing; items are
    scaled for the attention (``item_norm``), since short vectors make it flat.
    """

    def __init__(self, config: SelfAttentionConfig, interests: int, width: int) -> None:
        super().__init__()
        self.config = config
        self.position = nn.Embedding(config.places, width)
        nn.init.normal_(self.position.weight, std=0.1)
        self.hidden = nn.Linear(width, _EXPANSION * width, bias=False)  # W1
        self.heads = nn.Linear(_EXPANSION * width, interests, bias=False)  # W2

    def forward(
        self, item_BLD: Tensor, valid_BL: Tensor, generator: torch.Generator | None = None
    ) -> ImplicitInterests:
        """Attend to each history; the same in training and in serving.

        Args:
            item_BLD: history item vectors, not normalised.
            valid_BL: True = real and usable; other events are ignored.
            generator: not used.
        """
        del generator
        rank_BL = (valid_BL.to(torch.int64).cumsum(dim=1) - 1).clamp(min=0, max=self.config.places - 1)
        placed_BLD = scale_to(item_BLD, self.config.item_norm) + self.position(rank_BL)
        return attend_to_events(self.heads(self.hidden(placed_BLD).tanh()), item_BLD, valid_BL)
