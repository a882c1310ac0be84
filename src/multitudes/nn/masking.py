"""Masks before a maximum or a softmax: the largest finite value, never 0 and never infinity.

Multiplying by a 0/1 mask makes masked entries win where real scores are negative; infinity gives NaN gradients on rows
that are masked entirely.
"""

import torch
from torch import Tensor


def lowest(scores: Tensor) -> float:
    """Return the most negative finite value of the dtype of ``scores``."""
    return torch.finfo(scores.dtype).min


def masked_low(scores: Tensor, keep: Tensor) -> Tensor:
    """Return ``scores`` with entries outside ``keep`` at the lowest finite value, so that no maximum picks them."""
    return scores.masked_fill(~keep, lowest(scores))


def masked_high(scores: Tensor, keep: Tensor) -> Tensor:
    """Return ``scores`` with entries outside ``keep`` at the highest finite value, so that no minimum picks them."""
    return scores.masked_fill(~keep, torch.finfo(scores.dtype).max)


def masked_mean(values_BLD: Tensor, keep_BL: Tensor) -> Tensor:
    """Return the mean over L of the kept rows, shape (B, D); zeros where none is kept."""
    keep_BL1 = keep_BL.unsqueeze(-1).to(values_BLD.dtype)
    return (values_BLD * keep_BL1).sum(dim=-2) / keep_BL1.sum(dim=-2).clamp(min=1.0)
