"""Sampled softmax with a shared pool of negatives and logQ correction (Yi et al. 2019; method §3).

Legend: B users · T positives of a user · K interests · N pool of negatives.
"""

import torch
from torch import Tensor

from multitudes.nn.masking import masked_low


def corrected(score: Tensor, log_q: Tensor) -> Tensor:
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
    return masked_low(corrected(score, log_q_N), ~hit).logsumexp(dim=-1)


def weighted_mean(loss: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of ``loss`` weighted by ``weight``; zero, with a gradient, where all weights are zero."""
    return (loss * weight).sum() / weight.sum().clamp(min=1e-9)
