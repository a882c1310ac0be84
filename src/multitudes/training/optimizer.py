"""Adam, by torch's functions. Its classes import torch's compiler, which costs 70 MiB and seconds at every start.

Dense weights use AdamW. Embedding tables use SparseAdam, which updates only the rows of a step: updating a whole large
vocabulary would cost more than the step.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim._functional import sparse_adam
from torch.optim.adamw import adamw

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """Adam for some weights.

    ``state`` holds the moments of each weight by its number, nothing before its first gradient: "exp_avg" and
    "exp_avg_sq" in the shape of the weight, and "step", the number of steps taken.
    """

    def __init__(self, weights: Sequence[Tensor], *, rate: float, sparse: bool = False) -> None:
        """Start without moments; ``sparse``: the weights are embedding tables with sparse gradients."""
        self.weights, self.rate, self.sparse = weights, rate, sparse
        self.state: dict[int, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for weight in self.weights:
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the weights by their gradients."""
        updated = [number for number, weight in enumerate(self.weights) if weight.grad is not None]
        moments = [self.state.setdefault(number, {}) or self._init_moments(number) for number in updated]
        weights = [self.weights[number] for number in updated]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        averages, squares, steps = ([one[name] for one in moments] for name in ("exp_avg", "exp_avg_sq", "step"))
        settings: dict[str, Any] = {"beta1": _BETA1, "beta2": _BETA2, "eps": _EPSILON, "lr": self.rate}
        if self.sparse:
            counts = [int(step.add_(1)) for step in steps]
            sparse_adam(weights, gradients, averages, squares, counts, maximize=False, **settings)
        else:
            settings["weight_decay"] = 0.0
            adamw(weights, gradients, averages, squares, [], steps, amsgrad=False, maximize=False, **settings)

    def _init_moments(self, number: int) -> dict[str, Tensor]:
        weight, moments = self.weights[number], self.state[number]
        moments["step"] = torch.tensor(0 if self.sparse else 0.0)
        moments["exp_avg"], moments["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
        return moments
