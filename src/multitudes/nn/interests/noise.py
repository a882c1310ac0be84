"""Random starts: drawn in training, fixed in evaluation and serving.

Fresh noise in serving would give the same user other vectors on each call. The fixed noise depends on an event's place
in the history and on nothing else, so batch mates and padding change nothing.

Legend: B users · L history · K interests · P places with noise of their own.
"""

import torch
from torch import Tensor

from multitudes.seeding import stream_seed

PLACES = 512  # older events repeat the noise of earlier places


def by_place(k: int) -> Tensor:
    """Return the fixed noise (P, K), standard normal and the same for every model."""
    draws = torch.Generator().manual_seed(stream_seed(0, "interests", "start"))
    return torch.randn(PLACES, k, generator=draws)


def start(valid_BL: Tensor, fixed_PK: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return standard normal numbers (B, L, K): drawn by ``generator``, or those of the places where it is None."""
    batch, length = valid_BL.shape
    if generator is not None:
        return torch.randn(batch, length, fixed_PK.shape[1], generator=generator).to(valid_BL.device)
    place_L = torch.arange(length, device=valid_BL.device) % len(fixed_PK)
    return fixed_PK[place_L].expand(batch, -1, -1)
