"""Losses: sampled softmax with logQ correction (Yi et al. 2019), and the association of targets with interests.

All negatives come from one pool that the batch shares. The association functions (``hard_argmax_loss``,
``gumbel_loss``, ``mixture_loss``) take the scores of the positives under every interest and the log-sum-exp of the
negatives under every interest, and return the loss of each positive (Fan et al., KDD 2025). All are pure functions.

The logQ correction subtracts from each score, of positives and negatives and after any temperature, the log probability
that the item is in the pool: without it popular items, which are negatives more often, are penalised.

Legend: B users · T positives of a user · K interests · N pool of negatives · S vectors · D width.
``mask_BK`` is True where an interest exists.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from multitudes.nn.primitives import mask_with_lowest


def softmax_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """Return -log(e^s+ / (e^s+ + e^n)) element by element; n is the log-sum-exp of the negatives."""
    return torch.logaddexp(positive, negative) - positive


def hard_argmax_loss(positive_BTK: Tensor, negative_BK: Tensor, mask_BK: Tensor) -> Tensor:
    """Train only the interest that is nearest to the target (the paper's DCM); (B, T)."""
    best_BT1 = mask_with_lowest(positive_BTK, mask_BK.unsqueeze(1)).argmax(dim=2, keepdim=True)
    negative_BTK = negative_BK.unsqueeze(1).expand_as(positive_BTK)
    return softmax_loss(positive_BTK.gather(2, best_BT1), negative_BTK.gather(2, best_BT1)).squeeze(2)


def gumbel_loss(
    positive_BTK: Tensor, negative_BK: Tensor, mask_BK: Tensor, temperature: float, generator: Generator | None
) -> Tensor:
    """Train one interest, drawn by straight-through Gumbel-softmax, the paper's remedy against collapse; (B, T)."""
    uniform_BTK = torch.rand(positive_BTK.shape, generator=generator).to(positive_BTK.device).clamp(1e-9, 1 - 1e-7)
    noisy_BTK = (positive_BTK - (-uniform_BTK.log()).log()) / temperature
    # Masked after the division: the lowest finite value divided by a small temperature is infinite.
    soft_BTK = mask_with_lowest(noisy_BTK, mask_BK.unsqueeze(1)).softmax(dim=2)
    hard_BTK = torch.zeros_like(soft_BTK).scatter(2, soft_BTK.argmax(dim=2, keepdim=True), 1.0)
    choice_BTK = hard_BTK + soft_BTK - soft_BTK.detach()
    loss_BTK = softmax_loss(positive_BTK, negative_BK.unsqueeze(1)).masked_fill(~mask_BK.unsqueeze(1), 0.0)
    return (choice_BTK * loss_BTK).sum(dim=2)


def mixture_loss(positive_BTK: Tensor, negative_BK: Tensor, mask_BK: Tensor, weight_BK: Tensor) -> Tensor:
    """Train all vectors together as a mixture: -log Σ_k π_k softmax_k(y), π being the importance; (B, T).

    The mixture blend ranks by the same score, with π times the shares of the kinds that validation fits afterwards.
    π need not sum to one here: a common factor adds a constant to the loss and nothing to its gradient.
    """
    log_share_BTK = -softmax_loss(positive_BTK, negative_BK.unsqueeze(1))
    prior_BK = weight_BK / weight_BK.sum(dim=1, keepdim=True).clamp(min=1e-9)  # the importances of each kind sum to one
    log_prior_BK = prior_BK.clamp(min=1e-9).log()
    return -mask_with_lowest(log_share_BTK + log_prior_BK.unsqueeze(1), mask_BK.unsqueeze(1)).logsumexp(dim=2)


def accidental_hits(row_T: Tensor, target_T: Tensor, pool_N: Tensor, rows: int) -> Tensor:
    """Return (rows, N), True where an item of the ascending pool is a positive of the row, so no negative for it."""
    place_T = torch.searchsorted(pool_N, target_T).clamp(max=len(pool_N) - 1)
    pooled_T = pool_N[place_T] == target_T
    hit = torch.zeros(rows, len(pool_N), dtype=torch.bool, device=pool_N.device)
    hit[row_T[pooled_T], place_T[pooled_T]] = True
    return hit


def negative_logsumexp(score: Tensor, log_q_N: Tensor, hit: Tensor) -> Tensor:
    """Return the log-sum-exp over the last dimension, N, of the corrected negatives; accidental hits are left out."""
    return mask_with_lowest(score - log_q_N, ~hit).logsumexp(dim=-1)


def pool_negative_logsumexp(
    vector_SD: Tensor, pool_ND: Tensor, log_q_N: Tensor, hit_BN: Tensor, row_S: Tensor
) -> Tensor:
    """Return the ``negative_logsumexp`` of S vectors over a pool, shape (S,), without holding all S x N scores.

    ``row_S`` is the row of ``hit_BN`` of each vector: users have several moments or interests.
    """
    logsumexp: Tensor = _PoolNegativeLogsumexp.apply(vector_SD, pool_ND, log_q_N, hit_BN, row_S)  # type: ignore[no-untyped-call]
    return logsumexp


class _PoolNegativeLogsumexp(torch.autograd.Function):
    """Computes the scores of a few vectors at a time, which fit in a core's cache, and again in the backward pass.

    Computing the scores twice is faster than writing and reading S x N scores, masks and gradients, which would take
    most of a step.
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
        logsumexp_S = vector_SD.new_empty(len(vector_SD))
        for first in range(0, len(vector_SD), _PoolNegativeLogsumexp.ROWS):
            chunk = slice(first, first + _PoolNegativeLogsumexp.ROWS)
            logsumexp_S[chunk] = negative_logsumexp(vector_SD[chunk] @ pool_ND.T, log_q_N, hit_BN[row_S[chunk]])
        return logsumexp_S

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, grad_S: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        vector_SD, pool_ND, log_q_N, hit_BN, row_S = ctx.saved_tensors  # type: ignore[attr-defined]
        grad_SD, grad_ND = torch.empty_like(vector_SD), torch.zeros_like(pool_ND)
        for first in range(0, len(vector_SD), _PoolNegativeLogsumexp.ROWS):
            chunk = slice(first, first + _PoolNegativeLogsumexp.ROWS)
            hit, chunk_SD = hit_BN[row_S[chunk]], vector_SD[chunk]
            share = mask_with_lowest((chunk_SD @ pool_ND.T).sub_(log_q_N), ~hit).softmax(dim=1)
            share = share.masked_fill_(hit, 0.0).mul_(grad_S[chunk].unsqueeze(1))
            grad_SD[chunk] = share @ pool_ND
            grad_ND.addmm_(share.T, chunk_SD)
        return grad_SD, grad_ND, None, None, None


class WeightedLoss(NamedTuple):
    """A weighted sum of losses and the sum of its weights: micro batches and ranks add both for a common mean."""

    sum: Tensor
    weight: Tensor

    def mean(self) -> Tensor:
        """Return the weighted mean; zero, with a gradient, if all weights are zero."""
        return self.sum / self.weight.clamp(min=1e-9)


def sum_weighted(loss: Tensor, weight: Tensor) -> WeightedLoss:
    """Return the sum of ``loss`` weighted by ``weight``."""
    return WeightedLoss((loss * weight).sum(), weight.sum())
