"""Untrained user towers of the usual size: the cost of a request does not depend on quality.

The crossing of a tower has a skip connection. With small weights in the crossing, user vectors are near the items, so
an index searches them like those of a trained model. All layers are present and computed.
"""

from pathlib import Path

import torch
from torch import nn

from benchmarks import SEED
from benchmarks.index.corpus import Vectors
from multitudes.nn.methods import Method
from multitudes.nn.two_tower import DataSizes, ItemFeatures, TwoTower
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.publishing.onnx_export import export_user_tower

INTERESTS, CONDITIONS = 6, 5  # with the vector of the whole history: twelve
NORM = 8.0  # of items as a tower reads them, and of topics: that of what its encoder gives at width 64
_CROSSING_GAIN = (
    0.1  # of the usual size of weights: without a history, a vector is what the crossing makes of the follows
)


def write_tower(method: Method, centre_TD: Vectors, history: int, file: Path) -> None:
    """Write the user tower of a method, for topics with these centres."""
    torch.manual_seed(SEED)
    width = centre_TD.shape[1]
    config = UserTowerConfig(width=width, interests=INTERESTS, history=history, similarity="cosine")
    nothing = ItemFeatures(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 0), torch.zeros(1, 0))
    model = TwoTower(config, method, nothing, DataSizes(len(centre_TD), actions=1, user_features=0))
    with torch.no_grad():
        model.items.topic_embedding.weight[1:] = NORM * torch.from_numpy(centre_TD)
        for crossing in (model.user.crossing, model.user.interest_crossing, model.user.history):
            if crossing is not None:
                last = [part for part in crossing.modules() if isinstance(part, nn.Linear)][-1]
                nn.init.xavier_uniform_(last.weight, gain=_CROSSING_GAIN)  # they begin at zero
    export_user_tower(model, config.history, 0, CONDITIONS if method == "joint" else 0, file)
