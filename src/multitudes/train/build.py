"""A model whose shapes fit a prepared data set."""

import numpy as np
import torch
from numpy.typing import NDArray
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
        feature_NF=_mapped(prepared.item_feature),
        content_NE=torch.zeros(len(rows), 0) if content is None else _mapped(content),
    )


def _mapped(array: NDArray[np.float32]) -> Tensor:
    """Return the values, of which no page is in memory before it is read: a map that nobody writes to.

    Mapped anew so that it could be written to (a page would be copied then), as torch warns of one that could not.
    """
    if not isinstance(array, np.memmap):
        return torch.from_numpy(np.array(array))
    assert array.filename is not None
    return torch.from_numpy(
        np.memmap(array.filename, dtype=array.dtype, mode="c", offset=array.offset, shape=array.shape)
    )
