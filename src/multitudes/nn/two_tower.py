"""The model: one item tower and one user tower, so that one index serves every kind of interest."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from multitudes.nn.interest_assignment import Partition
from multitudes.nn.item_tower import ItemFeatures, ItemTower
from multitudes.nn.methods import Method
from multitudes.nn.primitives import l2_normalize
from multitudes.nn.user_tower import TowerOutput, UserInputs, UserTower
from multitudes.nn.user_tower_config import UserTowerConfig


class DataSizes(NamedTuple):
    """Sizes of the data that determine the shapes of the weights."""

    topics: int
    actions: int
    user_features: int


class HistoryInputs(NamedTuple):
    """B users, with the item tower's inputs of their L history items."""

    input_BLD: Tensor
    action_BL: Tensor
    valid_BL: Tensor
    follow_BF: Tensor
    topic_BC: Tensor  # conditions of the explicit interests, 0 = none
    feature_BP: Tensor


class TwoTower(nn.Module):
    """Item tower and user tower; the topic embedding is shared between them."""

    def __init__(self, config: UserTowerConfig, method: Method, features: ItemFeatures, sizes: DataSizes) -> None:
        super().__init__()
        self.items = ItemTower(features, sizes.topics, config.width, config.crossing.hidden, config.dropout)
        self.user = UserTower(config, method, self.items.topic_embedding, sizes.actions, sizes.user_features)
        self.similarity = config.similarity
        self.has_unconditioned, self.n_implicit = self.user.has_unconditioned, self.user.n_implicit
        self.has_explicit = self.user.conditional is not None

    def item_vectors(self, input_ND: Tensor) -> Tensor:
        """Return the item vectors that user vectors are multiplied with; of unit length if the similarity is cosine."""
        vector_ND = self.items.vectors(input_ND)
        return l2_normalize(vector_ND) if self.similarity == "cosine" else vector_ND

    def user_vectors(
        self, users: HistoryInputs, generator: torch.Generator | None = None, partition: Partition = "interests"
    ) -> TowerOutput:
        """Return the user vectors from item inputs, as evaluation and serving compute them."""
        item_BLD = self.user.encode(users.input_BLD, users.action_BL)
        inputs = UserInputs(
            item_BLD=item_BLD,
            valid_BL=users.valid_BL,
            past_BL=users.valid_BL,
            follow_BF=users.follow_BF,
            topic_BC=users.topic_BC,
            feature_BP=users.feature_BP,
        )
        vectors: TowerOutput = self.user(inputs, generator, partition)
        return vectors
