"""The methods by name: which kinds of interest each has, and which module finds its implicit ones."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from multitudes.nn.interest_assignment import ImplicitInterests
from multitudes.nn.interests.clustering import Clustering
from multitudes.nn.interests.dynamic_routing import DynamicRouting
from multitudes.nn.interests.random_partition import RandomPartition
from multitudes.nn.interests.routing import Routing
from multitudes.nn.interests.self_attention import SelfAttention
from multitudes.nn.interests.subsequence import Subsequence
from multitudes.nn.interests.tokens import Tokens
from multitudes.nn.user_tower_config import ImplicitName, UserTowerConfig

Method = Literal[
    "single",
    "transformer",
    "clustering",
    "conditional",
    "joint",
    "routing",
    "dynamic_routing",
    "self_attention",
    "tokens",
    "subsequence",
    "random_partition",
]


class MethodSpec(NamedTuple):
    """What a method is made of, beside the unconditioned vector."""

    implicit: ImplicitName | Literal["chosen"] | None = None  # finds interests in the history; chosen: by setting
    explicit: bool = False  # whether topics condition vectors (CR)
    defaults: Mapping[str, Any] = MappingProxyType({})  # settings of the user tower that this method brings


METHODS: dict[Method, MethodSpec] = {
    "single": MethodSpec(),
    # The strongest single vector: the state of the encoder itself, as in SASRec and eSASRec.
    "transformer": MethodSpec(defaults={"crossing": {"hidden": 0}}),
    "clustering": MethodSpec("clustering"),
    "conditional": MethodSpec(explicit=True),
    "joint": MethodSpec("chosen", explicit=True),
    "routing": MethodSpec("routing"),
    "dynamic_routing": MethodSpec("dynamic_routing"),
    "self_attention": MethodSpec("self_attention"),
    "tokens": MethodSpec("tokens"),
    "subsequence": MethodSpec("subsequence"),
    "random_partition": MethodSpec("random_partition"),
}
ALWAYS_SINGLE: tuple[Method, ...] = ("single", "transformer", "joint")  # whatever ``unconditioned`` says


class ImplicitModule(Protocol):
    """Finds K interests in a history; K is fixed, those that a user lacks are masked."""

    def __call__(
        self, item_BLD: Tensor, valid_BL: Tensor, generator: torch.Generator | None = None
    ) -> ImplicitInterests:
        """Return the interests of B users.

        Args:
            item_BLD: history item vectors, column 0 the most recent.
            valid_BL: True = real and usable; others take part in nothing.
            generator: random draws of training. None (evaluation, serving): deterministic, whoever shares the batch.
        """
        ...


def build_implicit(parts: MethodSpec, config: UserTowerConfig) -> nn.Module | None:
    """Return the module (an ``ImplicitModule``) that finds implicit interests; None where the method has none."""
    k, width = config.interests, config.width
    match config.implicit if parts.implicit == "chosen" else parts.implicit:
        case None:
            return None
        case "clustering":
            return Clustering(config.clustering, k)
        case "routing":
            return Routing(config.routing, k, width)
        case "dynamic_routing":
            return DynamicRouting(config.dynamic_routing, k, width)
        case "self_attention":
            return SelfAttention(config.self_attention, k, width)
        case "tokens":
            return Tokens(config.tokens, k, width)
        case "subsequence":
            return Subsequence(config.subsequence, k, width)
        case "random_partition":
            return RandomPartition(k)
