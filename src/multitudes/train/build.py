"""A model whose shapes fit a prepared data set."""

import numpy as np
import torch
from torch import Tensor

from multitudes.batches.examples import item_topics
from multitudes.data.prepared import Prepared
from multitudes.nn.items import ItemFeatures
from multitudes.nn.methods import Method
from multitudes.nn.model import Sizes, TwoTower
from multitudes.nn.user_config import UserTowerConfig


def build_model(prepared: Prepared, method: Method, config: UserTowerConfig) -> TwoTower:
    """Return an untrained model for ``prepared``; weights are drawn from torch's current seed."""
    sizes = Sizes(prepared.n_topics, prepared.n_actions, prepared.user_feature.shape[1])
    return TwoTower(config, method, item_features(prepared), sizes)


def item_features(prepared: Prepared) -> ItemFeatures:
    """Return the features of every item, row 0 being the unknown item."""
    rows = np.arange(prepared.n_items + 1)
    content = prepared.item_embedding
    return ItemFeatures(
        topic_NG=torch.from_numpy(item_topics(prepared, rows)),
        feature_NF=_copy(prepared.item_feature),
        content_NE=torch.zeros(len(rows), 0) if content is None else _copy(content),
    )


def _copy(array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Tensor:
    return torch.from_numpy(np.array(array))  # a memory map is read-only, which torch warns about
