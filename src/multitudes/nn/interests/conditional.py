"""Explicit interests: conditional retrieval, CR (Fan et al., KDD 2025, section 4).

The condition is the learned embedding of a topic; it enters the user tower together with the user's other features
(early fusion). In training it is the topic that explains the example, in serving a topic that the user follows.
"""

import torch
from torch import Tensor, nn

from multitudes.nn.interest_assignment import Interests


class Conditional(nn.Module):
    """One condition per topic; all have the same importance, since every topic gets the same budget."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.project.weight)

    def forward(self, topic_BCD: Tensor, known_BC: Tensor) -> Interests:
        """Return K = C interests from topic embeddings; ``known_BC`` is False at padding and unknown topics."""
        weight_BC = known_BC.to(topic_BCD.dtype)
        weight_BC = weight_BC / weight_BC.sum(dim=1, keepdim=True).clamp(min=1.0)
        return Interests(self.project(topic_BCD) * known_BC.unsqueeze(2), weight_BC, known_BC)


def is_topic(topic_BC: Tensor) -> Tensor:
    """Return whether each entry is a topic: 0 is padding or unknown."""
    return torch.gt(topic_BC, 0)
