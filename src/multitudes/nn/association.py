"""Condition association: which interest explains a training example, and the loss that follows (method §1, §3).

Each function takes the scores of the positives under every interest and the log-sum-exp of the negatives under every
interest, and returns the loss of each positive. Pure functions.

Legend: B users · T positives of a user · K interests. ``mask_BK`` is True where an interest exists.
"""

import torch
from torch import Tensor

from multitudes.nn.masking import masked_low


def softmax_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """Return -log(e^s+ / (e^s+ + e^n)), n being the log-sum-exp of the negatives; element by element."""
    return torch.logaddexp(positive, negative) - positive


def hard_argmax(positive_BTK: Tensor, negative_BK: Tensor, mask_BK: Tensor) -> Tensor:
    """Train only the interest that is nearest to the target (the paper's DCM); (B, T)."""
    best_BT1 = masked_low(positive_BTK, mask_BK.unsqueeze(1)).argmax(dim=2, keepdim=True)
    negative_BTK = negative_BK.unsqueeze(1).expand_as(positive_BTK)
    return softmax_loss(positive_BTK.gather(2, best_BT1), negative_BTK.gather(2, best_BT1)).squeeze(2)


def gumbel(
    positive_BTK: Tensor, negative_BK: Tensor, mask_BK: Tensor, temperature: float, generator: torch.Generator | None
) -> Tensor:
    """Train the interest drawn by a straight-through Gumbel-softmax, the paper's cure for collapse; (B, T)."""
    uniform_BTK = torch.rand(positive_BTK.shape, generator=generator).to(positive_BTK.device).clamp(1e-9, 1 - 1e-7)
    noisy_BTK = (positive_BTK - (-uniform_BTK.log()).log()) / temperature
    # Masked after the division: the lowest finite value divided by a small temperature is infinite.
    soft_BTK = masked_low(noisy_BTK, mask_BK.unsqueeze(1)).softmax(dim=2)
    hard_BTK = torch.zeros_like(soft_BTK).scatter(2, soft_BTK.argmax(dim=2, keepdim=True), 1.0)
    choice_BTK = hard_BTK + soft_BTK - soft_BTK.detach()
    loss_BTK = softmax_loss(positive_BTK, negative_BK.unsqueeze(1)).masked_fill(~mask_BK.unsqueeze(1), 0.0)
    return (choice_BTK * loss_BTK).sum(dim=2)


def mixture(positive_BTK: Tensor, negative_BK: Tensor, mask_BK: Tensor, weight_BK: Tensor) -> Tensor:
    """Train all vectors together as a mixture: -log sum_k pi_k softmax_k(y), pi being the importance; (B, T).

    The mixture blend ranks by the same score, with pi times the shares of the kinds that validation fits afterwards.
    Here pi need not sum to one: a factor of all of them adds a constant to the loss and nothing to its gradient.
    """
    log_share_BTK = -softmax_loss(positive_BTK, negative_BK.unsqueeze(1))
    prior_BK = weight_BK / weight_BK.sum(dim=1, keepdim=True).clamp(min=1e-9)  # kinds sum to one each
    log_prior_BK = prior_BK.clamp(min=1e-9).log()
    return -masked_low(log_share_BTK + log_prior_BK.unsqueeze(1), mask_BK.unsqueeze(1)).logsumexp(dim=2)
