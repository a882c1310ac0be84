"""Small building blocks: masks, vector lengths that are defined at zero, and a cheap dropout.

Masked scores get the lowest finite value, never 0 and never infinity. Multiplying by a 0/1 mask lets
masked entries win if real scores are negative, and infinity gives NaN gradients on rows that are masked entirely.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable


def mask_with_lowest(scores: Tensor, keep: Tensor) -> Tensor:
    """Return ``scores`` with entries outside ``keep`` at the lowest finite value, so that no maximum selects them."""
    return scores.masked_fill(~keep, torch.finfo(scores.dtype).min)


def is_place(index: Tensor, length: int) -> Tensor:
    """Return for each of ``length`` places whether it is the index: (..., 1) becomes (..., length)."""
    return index == torch.arange(length, device=index.device)


# Keeps zero at zero: 0 / 0 is NaN.
_SHORTEST = 1e-6


def l2_normalize(vector_D: Tensor) -> Tensor:
    """Return the vector at length one along the last dimension; zero stays zero."""
    return vector_D / length_of(vector_D).clamp(min=_SHORTEST)


def length_of(vector_D: Tensor) -> Tensor:
    """Return the length of the vector along the last dimension (..., 1); its gradient at zero is zero."""
    length: Tensor = torch.linalg.vector_norm(vector_D, dim=-1, keepdim=True)
    return length


def squash(vector_D: Tensor) -> Tensor:
    """Shrink each vector to a length below one and keep its direction (Sabour et al. 2017); zero stays zero."""
    length = length_of(vector_D)
    return vector_D * (length / (1 + length * length))


class Dropout(nn.Module):
    """Dropout that is cheap on a CPU: one random byte per entry instead of one random float.

    In training, entries are zeroed with probability ``rate`` (rounded to 1/256) and the others scaled up. PyTorch draws
    a float per entry on the CPU, which takes a third of a training step; here eight entries share one draw.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.threshold = round(rate * 256)  # bytes below it are dropped

    def forward(self, values: Tensor) -> Tensor:
        """Return values of the same shape."""
        if not self.training or self.threshold == 0:
            return values
        if values.device.type != "cpu":
            return nn.functional.dropout(values, self.rate)
        draws = torch.empty((values.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.uint8)[: values.numel()].view(values.shape) >= self.threshold
        dropped: Tensor = _Drop.apply(values, kept, 256 / (256 - self.threshold))  # type: ignore[no-untyped-call]
        return dropped


class _Drop(torch.autograd.Function):
    """Multiplies values by mask and factor; saves one byte per entry for the backward pass, not a float."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor, kept: Tensor, factor: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.factor = factor  # type: ignore[attr-defined]
        return values * (kept * factor)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:
        (kept,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad * (kept * ctx.factor), None, None  # type: ignore[attr-defined]
