"""Small models and inputs of known shapes."""

import torch
from torch import Tensor

from multitudes.nn.methods import Method
from multitudes.nn.two_tower import DataSizes, HistoryInputs, ItemFeatures, TwoTower
from multitudes.nn.user_tower import TowerOutput
from multitudes.nn.user_tower_config import UserTowerConfig

ITEMS, TOPICS, FOLLOWS, CONDITIONS = 200, 12, 6, 3


def model(method: Method, seed: int = 0, **settings: object) -> TwoTower:
    """Return a model with weights away from their start, so that every part of it has a say."""
    torch.manual_seed(seed)
    features = ItemFeatures(
        torch.randint(0, TOPICS + 1, (ITEMS + 1, 2)), torch.zeros(ITEMS + 1, 0), torch.zeros(ITEMS + 1, 0)
    )
    config = UserTowerConfig.model_validate({"width": 16, "history": 20, "crossing": {"hidden": 32}} | settings)
    two_tower = TwoTower(config, method, features, DataSizes(TOPICS, 2, 0)).eval()
    with torch.no_grad():
        for parameter in two_tower.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return two_tower


def inputs(two_tower: TwoTower, batch: int = 5, length: int = 20, seed: int = 1) -> dict[str, Tensor]:
    """Return the inputs of ``user_vectors`` for users of various histories; user 0 has none."""
    random = torch.Generator().manual_seed(seed)
    item_BL = torch.randint(1, ITEMS + 1, (batch, length), generator=random)
    valid_BL = torch.rand(batch, length, generator=random) < 0.7
    valid_BL[0] = False
    follow_BF = torch.randint(0, TOPICS + 1, (batch, FOLLOWS), generator=random)
    return {
        "input_BLD": two_tower.items.inputs(item_BL.flatten()).view(batch, length, -1).detach(),
        "action_BL": torch.randint(1, 3, (batch, length), generator=random),
        "valid_BL": valid_BL,
        "follow_BF": follow_BF,
        "topic_BC": follow_BF[:, :CONDITIONS].clone(),
        "feature_BP": torch.zeros(batch, 0),
    }


def vectors(two_tower: TwoTower, given: dict[str, Tensor]) -> TowerOutput:
    with torch.no_grad():
        return two_tower.user_vectors(HistoryInputs(**given))
