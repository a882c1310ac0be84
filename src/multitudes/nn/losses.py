"""Condition association: which interest explains a training example, and the loss that follows (method §1, §3).

Each function takes the scores of the positives under every interest and the log-sum-exp of the negatives under every
interest, and returns the loss of each positive. Pure functions.

Legend: B users · T positives of a user · K interests. ``mask_BK`` is True where an interest exists.

Sampled softmax with a shared pool of negatives and logQ correction (Yi et al. 2019; method §3).

Legend: B users · T positives of a user · K interests · N pool of negatives · S vectors · D width.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from multitudes.nn.primitives import mask_with_lowest


def softmax_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """Return -log(e^s+ / (e^s+ + e^n)), n being the log-sum-exp of the negatives; element by element."""
    return torch.logaddexp(positive, negative) - positive


def hard_argmax_loss(positive_BTK: Tensor, negative_BK: Tensor, mask_BK: Tensor) -> Tensor:
    """Train only the interest that is nearest to the target (the paper's DCM); (B, T)."""
    best_BT1 = mask_with_lowest(positive_BTK, mask_BK.unsqueeze(1)).argmax(dim=2, keepdim=True)
    negative_BTK = negative_BK.unsqueeze(1).expand_as(positive_BTK)
    return softmax_loss(positive_BTK.gather(2, best_BT1), negative_BTK.gather(2, best_BT1)).squeeze(2)


def gumbel_loss(
    positive_BTK: Tensor, negative_BK: Tensor, mask_BK: Tensor, temperature: float, generator: torch.Generator | None
) -> Tensor:
    """Train the interest drawn by a straight-through Gumbel-softmax, the paper's cure for collapse; (B, T)."""
    uniform_BTK = torch.rand(positive_BTK.shape, generator=generator).to(positive_BTK.device).clamp(1e-9, 1 - 1e-7)
    noisy_BTK = (positive_BTK - (-uniform_BTK.log()).log()) / temperature
    # Masked after the division: the lowest finite value divided by a small temperature is infinite.
    soft_BTK = mask_with_lowest(noisy_BTK, mask_BK.unsqueeze(1)).softmax(dim=2)
    hard_BTK = torch.zeros_like(soft_BTK).scatter(2, soft_BTK.argmax(dim=2, keepdim=True), 1.0)
    choice_BTK = hard_BTK + soft_BTK - soft_BTK.detach()
    loss_BTK = softmax_loss(positive_BTK, negative_BK.unsqueeze(1)).masked_fill(~mask_BK.unsqueeze(1), 0.0)
    return (choice_BTK * loss_BTK).sum(dim=2)


def mixture_loss(positive_BTK: Tensor, negative_BK: Tensor, mask_BK: Tensor, weight_BK: Tensor) -> Tensor:
    """Train all vectors together as a mixture: -log sum_k pi_k softmax_k(y), pi being the importance; (B, T).

    The mixture blend ranks by the same score, with pi times the shares of the kinds that validation fits afterwards.
    Here pi need not sum to one: a factor of all of them adds a constant to the loss and nothing to its gradient.
    """
    log_share_BTK = -softmax_loss(positive_BTK, negative_BK.unsqueeze(1))
    prior_BK = weight_BK / weight_BK.sum(dim=1, keepdim=True).clamp(min=1e-9)  # kinds sum to one each
    log_prior_BK = prior_BK.clamp(min=1e-9).log()
    return -mask_with_lowest(log_share_BTK + log_prior_BK.unsqueeze(1), mask_BK.unsqueeze(1)).logsumexp(dim=2)


def subtract_log_q(score: Tensor, log_q: Tensor) -> Tensor:
    """Return the score less the log of the probability that the item is in the pool.

    Without it, popular items are punished for being popular, as they are drawn as negatives more often. The same
    correction stands on positives and negatives, and on the full similarity (after any temperature).
    """
    return score - log_q


def accidental_hits(row_T: Tensor, target_T: Tensor, pool_N: Tensor, rows: int) -> Tensor:
    """Return (rows, N), True where a pool item is one of the row's own positives and so is no negative for it.

    Args:
        row_T: the row of each positive.
        target_T: its item.
        pool_N: the pool's items, ascending.
        rows: number of rows.
    """
    place_T = torch.searchsorted(pool_N, target_T).clamp(max=len(pool_N) - 1)
    pooled_T = pool_N[place_T] == target_T
    hit = torch.zeros(rows, len(pool_N), dtype=torch.bool, device=pool_N.device)
    hit[row_T[pooled_T], place_T[pooled_T]] = True
    return hit


def negative_mass(score: Tensor, log_q_N: Tensor, hit: Tensor) -> Tensor:
    """Return the log-sum-exp over the last dimension, N, of the corrected negatives; accidental hits left out."""
    return mask_with_lowest(subtract_log_q(score, log_q_N), ~hit).logsumexp(dim=-1)


def pool_negative_mass(vector_SD: Tensor, pool_ND: Tensor, log_q_N: Tensor, hit_BN: Tensor, row_S: Tensor) -> Tensor:
    """Return the ``negative_mass`` of S vectors over a pool, shape (S,), without ever holding all S x N scores.

    Args:
        vector_SD: user vectors, of several moments or interests of each user.
        pool_ND: vectors of the pool's items.
        log_q_N: see ``subtract_log_q``.
        hit_BN: see ``accidental_hits``.
        row_S: the row of ``hit_BN`` that holds for each vector.
    """
    mass: Tensor = _PoolNegativeMass.apply(vector_SD, pool_ND, log_q_N, hit_BN, row_S)  # type: ignore[no-untyped-call]
    return mass


class _PoolNegativeMass(torch.autograd.Function):
    """Scores of a few vectors at a time, which stay in a core's cache, and once more on the way back.

    A step spent most of its time writing and reading S x N scores, their masks and their gradients; computing the
    scores twice costs less.
    """

    ROWS = 256

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        vector_SD: Tensor,
        pool_ND: Tensor,
        log_q_N: Tensor,
        hit_BN: Tensor,
        row_S: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(vector_SD, pool_ND, log_q_N, hit_BN, row_S)
        mass_S = vector_SD.new_empty(len(vector_SD))
        for first in range(0, len(vector_SD), _PoolNegativeMass.ROWS):
            own = slice(first, first + _PoolNegativeMass.ROWS)
            mass_S[own] = negative_mass(vector_SD[own] @ pool_ND.T, log_q_N, hit_BN[row_S[own]])
        return mass_S

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, grad_S: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        vector_SD, pool_ND, log_q_N, hit_BN, row_S = ctx.saved_tensors  # type: ignore[attr-defined]
        grad_SD, grad_ND = torch.empty_like(vector_SD), torch.zeros_like(pool_ND)
        for first in range(0, len(vector_SD), _PoolNegativeMass.ROWS):
            own = slice(first, first + _PoolNegativeMass.ROWS)
            hit, part = hit_BN[row_S[own]], vector_SD[own]
            share = mask_with_lowest((part @ pool_ND.T).sub_(log_q_N), ~hit).softmax(dim=1)
            share = share.masked_fill_(hit, 0.0).mul_(grad_S[own].unsqueeze(1))
            grad_SD[own] = share @ pool_ND
            grad_ND.addmm_(share.T, part)
        return grad_SD, grad_ND, None, None, None


def hard_negative_mass(score: Tensor, log_q_N: Tensor, hit: Tensor, beta: float) -> Tensor:
    """Return the log of the negatives' mass, the hard ones weighing more (REMI; Xie et al. 2023, arXiv 2302.14532).

        log Σ_j w_j e^{s_j}        w_j = e^{β s_j} / mean of e^{β s} over the negatives

    With β = 0 it is ``negative_mass``. Sum and mean are both corrected by logQ, as they stand for all items.
    """
    mass, weight, count = (negative_mass(power * score, log_q_N, hit) for power in (1 + beta, beta, 0.0))
    return mass - (weight - count)


def routing_variance(routing_BLK: Tensor, takes_part_BL: Tensor) -> Tensor:
    """Return how unevenly a user's interests divide their weight among the events, squared and summed (REMI); (B,).

    It is large where an interest lives on one event of many, its "routing collapse". An interest's routing is brought
    to a sum of one first, so that it is the same for attention over events and for shares of interests.

    Deviation: padded events do not count as events of weight zero, and users are averaged, not summed.
    """
    part_BL1 = takes_part_BL.unsqueeze(2)
    share_BLK = routing_BLK / routing_BLK.sum(dim=1, keepdim=True).clamp(min=1e-9)
    mean_BL1 = part_BL1 / part_BL1.sum(dim=1, keepdim=True).clamp(min=1)  # a sum of one, evenly
    some_BK = routing_BLK.sum(dim=1) > 0
    spread_BK = ((share_BLK - mean_BL1) * part_BL1).square().sum(dim=1) * some_BK
    return spread_BK.square().sum(dim=1)


class WeightedLoss(NamedTuple):
    """A sum of losses by weight beside the sum of the weights, so that rows that lie apart have a mean in common."""

    sum: Tensor
    weight: Tensor

    def mean(self) -> Tensor:
        """Return the weighted mean; zero, with a gradient, where all weights are zero."""
        return self.sum / self.weight.clamp(min=1e-9)


def sum_weighted(loss: Tensor, weight: Tensor) -> WeightedLoss:
    """Return the sum of ``loss`` weighted by ``weight``."""
    return WeightedLoss((loss * weight).sum(), weight.sum())
