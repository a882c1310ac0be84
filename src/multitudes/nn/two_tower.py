"""The model: one item tower and one user tower, so that one index serves every kind of interest.

The item tower makes of the features of an item its input on the history side and its vector on the target side.

Legend: N items · D width · G topics per item (padded) · F features · E content width.
"""

from typing import NamedTuple

from torch import Generator, Tensor, nn

from multitudes.nn.crossing import mlp
from multitudes.nn.methods import Method, Partition
from multitudes.nn.primitives import l2_normalize
from multitudes.nn.user_tower import TowerOutput, UserInputs, UserTower
from multitudes.nn.user_tower_config import UserTowerConfig


class ItemFeatures(NamedTuple):
    """Features of each item; row 0 is the unknown item."""

    topic_NG: Tensor  # int64, 0 = padding
    feature_NF: Tensor  # float32, F may be 0
    content_NE: Tensor  # float32, E may be 0


class ItemTower(nn.Module):
    """Sum of an id embedding, the mean of topic embeddings and projected features; then an MLP with a residual.

    Deviation: the features are summed at equal width before the MLP, not concatenated, so that items without topics or
    content are in the same space; thanks to the residual, an id-only item tower is a plain embedding.

    A frozen tower has no MLP: the vector of an item is its content, and its input begins there.
    """

    topic_NG: Tensor
    feature_NF: Tensor
    content_NE: Tensor

    def __init__(self, features: ItemFeatures, n_topics: int, config: UserTowerConfig) -> None:
        super().__init__()
        width = config.width
        for name, values in features._asdict().items():
            self.register_buffer(name, values, persistent=False)
        self.id_embedding = nn.Embedding(len(features.topic_NG), width, sparse=True)
        self.topic_embedding = nn.Embedding(n_topics + 1, width, padding_idx=0)
        widths = [values.shape[1] for values in features[1:]]
        self.feature, self.content = (nn.Linear(n, width, bias=False) if n else None for n in widths)
        is_frozen = config.item_tower == "frozen"
        self.layers = None if is_frozen else mlp(width, config.crossing.hidden, width, config.dropout)
        if is_frozen and self.content is not None:
            nn.init.eye_(self.content.weight)
        nn.init.normal_(self.id_embedding.weight, std=0.05)
        nn.init.normal_(self.topic_embedding.weight[1:], std=0.05)

    def features(self, item_N: Tensor) -> ItemFeatures:
        """Return the features of known items."""
        return ItemFeatures(self.topic_NG[item_N], self.feature_NF[item_N], self.content_NE[item_N])

    def inputs(self, item_N: Tensor) -> Tensor:
        """Return the history-side input of each item (N, D)."""
        return self.inputs_from_features(self.id_embedding(item_N), self.features(item_N))

    def inputs_from_features(self, id_ND: Tensor, known: ItemFeatures) -> Tensor:
        """Return the history-side input of items, from their features and their id embeddings ``id_ND``."""
        topic_NG, feature_NF, content_NE = known
        count_N1 = (topic_NG > 0).sum(dim=1, keepdim=True).clamp(min=1)
        input_ND: Tensor = id_ND + self.topic_embedding(topic_NG).sum(dim=1) / count_N1
        if self.feature is not None:
            input_ND = input_ND + self.feature(feature_NF)
        if self.content is not None:
            input_ND = input_ND + self.content(content_NE)
        return input_ND

    def vectors(self, input_ND: Tensor, content_NE: Tensor) -> Tensor:
        """Return the target-side vector of each item (N, D), as in the index, from its input and its content."""
        return content_NE if self.layers is None else input_ND + self.layers(input_ND)


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
        self.items = ItemTower(features, sizes.topics, config)
        self.user = UserTower(config, method, self.items.topic_embedding, sizes.actions, sizes.user_features)
        self.similarity = config.similarity
        self.has_unconditioned, self.n_implicit = self.user.has_unconditioned, self.user.n_implicit
        self.has_explicit = self.user.conditional is not None

    def item_vectors(self, input_ND: Tensor, content_NE: Tensor) -> Tensor:
        """Return the item vectors that user vectors are multiplied with; of unit length if the similarity is cosine."""
        vector_ND = self.items.vectors(input_ND, content_NE)
        return l2_normalize(vector_ND) if self.similarity == "cosine" else vector_ND

    def user_vectors(
        self, users: HistoryInputs, generator: Generator | None = None, partition: Partition = "interests"
    ) -> TowerOutput:
        """Return the user vectors from item inputs, as evaluation and serving compute them."""
        item_BLD = self.user.encode(users.input_BLD, users.action_BL)
        past_BL = users.valid_BL  # all usable events are before the moment of serving
        inputs = UserInputs(item_BLD, past_BL, past_BL, users.follow_BF, users.topic_BC, users.feature_BP)
        vectors: TowerOutput = self.user(inputs, generator, partition)
        return vectors
