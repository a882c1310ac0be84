"""Implicit interests: the differentiable clustering module, DCM (Fan et al., KDD 2025, section 3).

Two steps. **VA-FPI** (validity-aware farthest-point initialisation) chooses K distinct valid history items as seeds,
each as dissimilar as possible from those before it. **SAR** (single-assignment routing) then moves each seed to the
centre of its nearest items, T times: a soft K-means whose assignment keeps its softmax value, so that gradients flow.

Either step can be switched off alone, as in the paper's ablation: seeds are then random valid items, and an item counts
in every cluster by its softmax, with the same rounds and the same gradient. MIND's start and routing differ in more
(``interests.routing``).

Legend: B users · L history, column 0 the most recent · K interests · D width.
"""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from multitudes.config import Config
from multitudes.nn.interest_assignment import (
    ROUNDS,
    ImplicitInterests,
    assign_events,
    fixed_noise,
    participation_mask,
    scale_items,
    slots_by_events,
    soft_assignment,
    start_noise,
)
from multitudes.nn.primitives import is_place, mask_with_lowest, squash

# Squared distance over squared length up to which two vectors are equal: 100 times the rounding error.
_DUPLICATE_TOLERANCE = 1e-8


class ClusteringConfig(Config):
    """Settings of the clustering module."""

    seeds: Literal["farthest", "random_items"] = Field(
        "farthest",
        description="where clusters start: farthest points (VA-FPI), or random items of the history (VA-FPI off)",
    )
    assignment: Literal["single", "soft_kmeans"] = Field(
        "single",
        description="an event counts only in its nearest cluster (SAR), or in all by their distances (SAR off)",
    )


class Clustering(nn.Module):
    """DCM: the condition vectors are cluster centres of the user's own history.

    Deviation: items are scaled to one length before routing. Short vectors make the routing softmax flat: every cluster
    moves to the same mean and most slots end up empty.
    """

    noise_PK: Tensor

    def __init__(self, config: ClusteringConfig, interests: int, width: int) -> None:
        super().__init__()
        del width  # nothing to learn
        self.config = config
        self.interests = interests
        self.register_buffer("noise_PK", fixed_noise(interests), persistent=False)

    def forward(self, item_BLD: Tensor, valid_BL: Tensor, generator: Generator | None = None) -> ImplicitInterests:
        """Cluster each history; see ``ImplicitModule``.

        The generator draws the first seed, or the random start. Without one it is the most recent valid item, or a
        start that is fixed by position in the history.
        """
        item_BLD = scale_items(item_BLD)
        logit_BLK, exists_BK = self._start(item_BLD, valid_BL, generator)
        participates_BLK = participation_mask(valid_BL, exists_BK)
        assign = single_assignment if self.config.assignment == "single" else soft_assignment
        return assign_events(*move_centres(item_BLD, logit_BLK, participates_BLK, assign))

    def _start(self, item_BLD: Tensor, valid_BL: Tensor, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """Return the initial logits of events and clusters (B, L, K), and which clusters exist (B, K)."""
        if self.config.seeds == "random_items":
            order_BL = start_noise(valid_BL, self.noise_PK[:, :1], generator).squeeze(2)
            seed_BKD, distinct_BK = random_items(item_BLD, valid_BL, self.interests, order_BL)
        else:
            seed_BKD, distinct_BK = farthest_points(item_BLD, valid_BL, self.interests, generator)
        return item_BLD @ seed_BKD.transpose(1, 2), distinct_BK


def farthest_points(item_BLD: Tensor, valid_BL: Tensor, k: int, generator: Generator | None) -> tuple[Tensor, Tensor]:
    """Choose ``k`` seeds (B, K, D) among the valid items (VA-FPI); no gradient flows through the choice.

    The mask (B, K) is False where no valid item was left, or only duplicates of seeds.
    """
    highest = torch.finfo(item_BLD.dtype).max
    # The largest similarity of each item to a seed; the highest number for seeds and items that cannot be one.
    nearest_B1L = torch.where(valid_BL.unsqueeze(1), -highest, highest)
    index_B11 = _first_seed(valid_BL, generator).view(-1, 1, 1)
    seeds: list[Tensor] = []
    for j in range(k):
        is_seed_B1L = is_place(index_B11, item_BLD.shape[1])
        seeds.append(is_seed_B1L.to(item_BLD.dtype) @ item_BLD)
        if j < k - 1:
            similarity_B1L = (seeds[-1] @ item_BLD.transpose(1, 2)).detach()
            nearest_B1L = torch.maximum(nearest_B1L, similarity_B1L).masked_fill(is_seed_B1L, highest)
            index_B11 = nearest_B1L.argmin(dim=2, keepdim=True)
    seed_BKD = torch.cat(seeds, dim=1)
    return seed_BKD, slots_by_events(valid_BL, k) & _differs_from_earlier(seed_BKD)


def random_items(item_BLD: Tensor, valid_BL: Tensor, k: int, order_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Choose ``k`` distinct seeds (B, K, D) among the valid items, by falling ``order_BL``: the ablation of VA-FPI.

    The mask (B, K) is False where no valid item was left that differs from the earlier seeds.
    """
    free_BL = valid_BL
    seeds, found = [], []
    for _ in range(k):
        index_B = mask_with_lowest(order_BL, free_BL).argmax(dim=1)
        seed_BD = item_BLD.gather(1, index_B.view(-1, 1, 1).expand(-1, 1, item_BLD.shape[2])).squeeze(1)
        found.append(free_BL.any(dim=1))
        seeds.append(seed_BD)
        free_BL = free_BL & _differs(item_BLD, seed_BD.unsqueeze(1))
    return torch.stack(seeds, dim=1), torch.stack(found, dim=1)


def _differs_from_earlier(seed_BKD: Tensor) -> Tensor:
    """Return for each seed whether it differs from all before it (B, K).

    Duplicates tie for every event, and rounding would decide between them, differently in each runtime.
    """
    differs_BKK = _differs(seed_BKD.unsqueeze(1), seed_BKD.unsqueeze(2))
    k = seed_BKD.shape[1]
    return (differs_BKK | torch.ones(k, k, dtype=torch.bool, device=seed_BKD.device).triu()).all(dim=2)


def _differs(vector_D: Tensor, seed_D: Tensor) -> Tensor:
    """Return whether vectors differ from a seed by more than rounding (...)."""
    difference_D = (seed_D - vector_D).detach()
    tolerance = _DUPLICATE_TOLERANCE * (seed_D * seed_D).sum(dim=-1).detach()
    return (difference_D * difference_D).sum(dim=-1) > tolerance


def _first_seed(valid_BL: Tensor, generator: Generator | None) -> Tensor:
    if generator is None:
        return valid_BL.to(torch.int64).argmax(dim=1)  # the first True: the most recent valid item
    noise_BL = torch.rand(valid_BL.shape, generator=generator).to(valid_BL.device)
    return mask_with_lowest(noise_BL, valid_BL).argmax(dim=1)


def move_centres(
    item_BLD: Tensor, logit_BLK: Tensor, participates_BLK: Tensor, assign: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Move each centre to its items, ``ROUNDS`` times; with ``single_assignment``, SAR.

    Returns the centres (B, K, D) and the shares of the last round (B, L, K). The logits are those of the current
    centres, at first of the seeds; unlike in ``route_by_agreement``, they do not add up over the rounds.
    """
    share_BLK = assign(logit_BLK, participates_BLK)
    centre_BKD = squash(share_BLK.transpose(1, 2) @ item_BLD)
    for _ in range(ROUNDS - 1):
        share_BLK = assign(item_BLD @ centre_BKD.transpose(1, 2), participates_BLK)
        centre_BKD = squash(share_BLK.transpose(1, 2) @ item_BLD)
    return centre_BKD, share_BLK


def single_assignment(logit_BLK: Tensor, participates_BLK: Tensor) -> Tensor:
    """Return b (B, L, K): the softmax over interests with only its largest entry, zero for invalid items (SAR).

    The softmax is over interests, not over items; the largest entry stays below one, so that gradients flow through it.
    """
    logit_BLK = mask_with_lowest(logit_BLK, participates_BLK)
    is_best_BLK = is_place(logit_BLK.argmax(dim=2, keepdim=True), logit_BLK.shape[2])
    return torch.where(is_best_BLK & participates_BLK, logit_BLK.softmax(dim=2), 0.0)
