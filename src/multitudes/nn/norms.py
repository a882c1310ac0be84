"""Lengths of vectors, defined at zero alike in torch and in ONNX."""

from torch import Tensor

# Keeps zero at zero. A lower bound, not a summand: the ONNX exporter drops "+ 1e-12" as a no-op, and 0 / 0 is NaN.
_TINY = 1e-12


def unit(vector_D: Tensor) -> Tensor:
    """Return the vector at length one along the last dimension; zero stays zero."""
    return vector_D / vector_D.square().sum(dim=-1, keepdim=True).clamp(min=_TINY).sqrt()


def scaled(vector_D: Tensor, length: float) -> Tensor:
    """Return the vector at the given length along the last dimension; 0 leaves it as it is."""
    return unit(vector_D) * length if length > 0 else vector_D


def squash(vector_D: Tensor) -> Tensor:
    """Shrink each vector to a length below one and keep its direction (Sabour et al. 2017); zero stays zero."""
    square_D = vector_D.square().sum(dim=-1, keepdim=True)
    return square_D / (1 + square_D) * unit(vector_D)
