"""Histories in which tastes are planted, and how well they are found."""

import torch
from torch import Tensor

from multitudes.nn.interest_assignment import Interests
from multitudes.nn.primitives import l2_normalize
from tests.metrics.rand_index import adjusted_rand_index

WIDTH = 16


def tastes(users: int = 64, length: int = 30, k: int = 3, noise: float = 0.25, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return histories that mix k directions of the user's own, and the direction behind each item."""
    random = torch.Generator().manual_seed(seed)
    return _mixed(l2_normalize(torch.randn(users, k, WIDTH, generator=random)), length, noise, random)


def shared_tastes(
    users: int = 64, length: int = 30, k: int = 3, noise: float = 0.25, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return histories that mix k directions which are the same for all users, and the direction behind each item."""
    random = torch.Generator().manual_seed(seed)
    return _mixed(torch.eye(k, WIDTH).expand(users, -1, -1), length, noise, random)


def _mixed(centre_BKD: Tensor, length: int, noise: float, random: torch.Generator) -> tuple[Tensor, Tensor]:
    users, k, width = centre_BKD.shape
    taste_BL = torch.randint(0, k, (users, length), generator=random)
    item_BLD = centre_BKD.gather(1, taste_BL.unsqueeze(2).expand(-1, -1, width))
    return item_BLD + noise * torch.randn(users, length, width, generator=random) / 4, taste_BL


def agreement(assignment_BL: Tensor, taste_BL: Tensor) -> float:
    """Return the mean adjusted Rand index: 1 where the tastes are found, about 0 by chance."""
    scores = [adjusted_rand_index(a.numpy(), t.numpy()) for a, t in zip(assignment_BL, taste_BL, strict=True)]
    return sum(scores) / len(scores)


def likeness(interests: Interests) -> float:
    """Return the mean cosine between a user's interests; 1 where they are all the same."""
    unit_BKD = l2_normalize(interests.vectors_BKD.detach())
    mask_BK = interests.mask_BK
    pair_BKK = mask_BK.unsqueeze(1) & mask_BK.unsqueeze(2) & ~torch.eye(mask_BK.shape[1], dtype=torch.bool)
    return (unit_BKD @ unit_BKD.transpose(1, 2))[pair_BKK].mean().item()
