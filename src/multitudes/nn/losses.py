"""Sampled softmax with a shared pool of negatives and logQ correction (Yi et al. 2019; method §3).

Legend: B users · T positives of a user · K interests · N pool of negatives.
"""

from torch import Tensor

from multitudes.nn.masking import masked_low


def corrected(score: Tensor, log_q: Tensor) -> Tensor:
    """Return the score less the log of the probability that the item is in the pool.

    Without it, popular items are punished for being popular, as they are drawn as negatives more often. The same
    correction stands on positives and negatives, and on the full similarity (after any temperature).
    """
    return score - log_q


def accidental_hits(target_BT: Tensor, pool_N: Tensor) -> Tensor:
    """Return (B, N), True where a pool item is one of the user's own positives and so is no negative for that user."""
    return (target_BT.unsqueeze(2) == pool_N.view(1, 1, -1)).any(dim=1)


def negative_mass(score_BKN: Tensor, log_q_N: Tensor, hit_BN: Tensor) -> Tensor:
    """Return the log-sum-exp of the corrected negatives of each interest, accidental hits left out; (B, K)."""
    return masked_low(corrected(score_BKN, log_q_N), ~hit_BN.unsqueeze(1)).logsumexp(dim=2)


def weighted_mean(loss: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of ``loss`` weighted by ``weight``; zero, with a gradient, where all weights are zero."""
    return (loss * weight).sum() / weight.sum().clamp(min=1e-9)
