"""Implicit interests as subsequences of shared concepts, PFS (PinnerFormer subsequences; Fan et al., KDD 2025).

Item vectors are clustered into concepts that all users share. A history is divided by concept, and the concepts with
most events are the interests; the sequence encoder then reads each subsequence separately.

Legend: B users · L history, column 0 the most recent · K interests · M concepts · N items of a batch · D width.
"""

from typing import Final

import torch
from torch import Generator, Tensor, nn

from multitudes.nn.interest_assignment import ImplicitInterests, assign_events
from multitudes.nn.primitives import is_place, l2_normalize

_CONCEPTS: Final = 32  # M, as in the paper; as many as interests at least
_MEMORY: Final = 0.99  # decay of the moving average by which concepts follow the items
_RESTART: Final = 0.05  # a concept restarts if it has less than this share of the mean number of items: it is dead


class Subsequence(nn.Module):
    """PFS: an interest is a user's events of one concept; its condition is the mean of those events.

    Concepts are not learned by gradient. They are initialised by k-means++ from the first training batch; then each
    follows the moving average of its nearest items, since item vectors change during training.

    Deviation: concepts follow the items during training (the paper clusters the vectors of an earlier model), and
    similarity is the cosine.
    """

    def __init__(self, settings: None, interests: int, width: int, concepts: int = _CONCEPTS) -> None:
        super().__init__()
        del settings  # it has none
        concepts = max(concepts, interests)
        self.interests = interests
        # Parameters without a gradient, so that a run saves, resumes and publishes them like weights.
        self.sum_MD = nn.Parameter(torch.randn(concepts, width), requires_grad=False)
        self.count_M = nn.Parameter(torch.zeros(concepts), requires_grad=False)

    def forward(self, item_BLD: Tensor, valid_BL: Tensor, generator: Generator | None = None) -> ImplicitInterests:
        """Divide each history by concept; with a generator, the concepts are updated first; see ``ImplicitModule``."""
        if generator is not None:
            self._update_concepts(l2_normalize(item_BLD.detach()[valid_BL]), generator)
        concept_BL1 = (l2_normalize(item_BLD) @ l2_normalize(self.sum_MD).T).argmax(dim=2, keepdim=True)
        member_BLM = is_place(concept_BL1, len(self.sum_MD)) & valid_BL.unsqueeze(2)
        chosen_BK = largest_concepts(member_BLM, self.interests)
        share_BLK = member_BLM.gather(2, chosen_BK.unsqueeze(1).expand(-1, valid_BL.shape[1], -1)).to(item_BLD.dtype)
        mean_BKD = share_BLK.transpose(1, 2) @ item_BLD / share_BLK.sum(dim=1).clamp(min=1.0).unsqueeze(2)
        return assign_events(mean_BKD, share_BLK)

    @torch.no_grad()
    def _update_concepts(self, item_ND: Tensor, generator: Generator) -> None:
        """Move the concepts towards the items of a batch, and restart dead ones."""
        if not len(item_ND):
            return
        if not self.count_M.any():
            self.sum_MD.copy_(kmeans_plus_plus(item_ND, len(self.sum_MD), generator))
        nearest_N1 = (item_ND @ l2_normalize(self.sum_MD).T).argmax(dim=1, keepdim=True)
        near_NM = is_place(nearest_N1, len(self.sum_MD)).to(item_ND)
        decay = _MEMORY if self.count_M.any() else 0.0
        self.count_M.mul_(decay).add_(near_NM.sum(dim=0), alpha=1 - decay)
        self.sum_MD.mul_(decay).add_(near_NM.T @ item_ND, alpha=1 - decay)
        mean_count = self.count_M.sum() / len(self.count_M)
        dead_M = self.count_M < _RESTART * mean_count
        drawn_M = torch.randint(len(item_ND), (len(dead_M),), generator=generator).to(item_ND.device)
        self.sum_MD.copy_(torch.where(dead_M.unsqueeze(1), item_ND[drawn_M] * mean_count, self.sum_MD))
        self.count_M.copy_(torch.where(dead_M, mean_count, self.count_M))


def largest_concepts(member_BLM: Tensor, k: int) -> Tensor:
    """Return the ``k`` concepts with most events of each user (B, K), ties go to the one with the newest event."""
    length = member_BLM.shape[1]
    newest_BM = torch.where(member_BLM.any(dim=1), member_BLM.to(torch.int64).argmax(dim=1), length)
    return (member_BLM.sum(dim=1) * (length + 1) - newest_BM).topk(k, dim=1).indices


def kmeans_plus_plus(item_ND: Tensor, m: int, generator: Generator) -> Tensor:
    """Choose ``m`` items by k-means++, each in proportion to its squared distance to the nearest item chosen before."""
    chosen = [torch.randint(len(item_ND), (1,), generator=generator).to(item_ND.device)]
    distance_N = torch.full_like(item_ND[:, 0], torch.inf)
    for _ in range(m - 1):
        nearest_N = (item_ND - item_ND[chosen[-1]]).square().sum(dim=1)
        distance_N = torch.minimum(distance_N, nearest_N)
        edge_N = distance_N.clamp(min=1e-9).cumsum(dim=0)
        draw = torch.rand(1, generator=generator).to(item_ND.device) * edge_N[-1]
        chosen.append(torch.searchsorted(edge_N, draw).clamp(max=len(item_ND) - 1))
    return item_ND[torch.cat(chosen)]
