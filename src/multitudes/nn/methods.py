"""The methods by name: which kinds of interest each has, and which module finds its implicit ones."""

from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from multitudes.nn.interests.clustering import Clustering
from multitudes.nn.interests.interests import Implicit
from multitudes.nn.user_config import UserTowerConfig

Method = Literal["single", "clustering", "conditional", "joint"]


class Parts(NamedTuple):
    """What a method is made of, beside the unconditioned vector."""

    implicit: str | None  # the module that finds interests in the history
    explicit: bool  # whether topics condition vectors (CR)


METHODS: dict[Method, Parts] = {
    "single": Parts(None, explicit=False),
    "clustering": Parts("clustering", explicit=False),
    "conditional": Parts(None, explicit=True),
    "joint": Parts("clustering", explicit=True),
}


class ImplicitModule(Protocol):
    """Finds K interests in a history; K is fixed, those that a user lacks are masked."""

    def __call__(self, item_BLD: Tensor, valid_BL: Tensor, generator: torch.Generator | None = None) -> Implicit:
        """Return the interests of B users.

        Args:
            item_BLD: history item vectors, column 0 the most recent.
            valid_BL: True = real and usable; others take part in nothing.
            generator: random draws of training. None (evaluation, serving): deterministic, whoever shares the batch.
        """
        ...


def build_implicit(parts: Parts, config: UserTowerConfig) -> nn.Module | None:
    """Return the module (an ``ImplicitModule``) that finds implicit interests; None where the method has none."""
    if parts.implicit is None:
        return None
    return Clustering(config.clustering, config.interests)
