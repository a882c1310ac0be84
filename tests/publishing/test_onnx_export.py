"""Every module that finds interests can be served: its ONNX form gives what it gives in torch."""

import logging
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from multitudes.nn.methods import METHODS
from multitudes.nn.user_tower import build_implicit
from multitudes.nn.user_tower_config import UserTowerConfig

LENGTH, WIDTH = 12, 8
WITHOUT_HALVES = {"seeds": "random_items", "assignment": "soft_kmeans"}


class AllModules(nn.Module):
    """Every implicit module side by side, so that one export, which takes seconds, serves for all."""

    def __init__(self) -> None:
        super().__init__()
        config = UserTowerConfig.model_validate({"width": WIDTH, "interests": 3})
        ablation = UserTowerConfig.model_validate({"width": WIDTH, "interests": 3, "clustering": WITHOUT_HALVES})
        torch.manual_seed(0)
        own = [name for name, spec in METHODS.items() if spec.implicit == "own"]
        named = [build_implicit(name, config) for name in own[1:]]
        built = [*named, build_implicit("clustering", ablation)]  # itself: in test_publish
        self.parts = nn.ModuleList(module for module in built if module is not None)

    def forward(self, item_BLD: Tensor, valid_BL: Tensor) -> tuple[Tensor, ...]:
        found = [part(item_BLD, valid_BL) for part in self.parts]
        return tuple(tensor for implicit in found for tensor in (*implicit.interests, implicit.assignment_BL))


def histories(batch: int, seed: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    valid_BL = torch.rand(batch, LENGTH, generator=random) < torch.rand(batch, 1, generator=random)
    return torch.randn(batch, LENGTH, WIDTH, generator=random), valid_BL


@pytest.mark.slow
def test_modules_give_the_same_in_torch_and_in_onnx(tmp_path: Path) -> None:
    modules = AllModules().eval()
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            modules,
            histories(2, 0),
            input_names=["item", "valid"],
            dynamic_shapes=({0: batch}, {0: batch}),
            dynamo=True,
        )
        assert program is not None
        program.save(str(tmp_path / "modules.onnx"))
        item_BLD, valid_BL = histories(200, 1)
        expected = modules(item_BLD, valid_BL)
    session = onnxruntime.InferenceSession(str(tmp_path / "modules.onnx"))
    served = session.run(None, {"item": item_BLD.numpy(), "valid": valid_BL.numpy()})
    assert len(served) == 4 * len(modules.parts)
    assert not valid_BL.any(dim=1).all(), "somebody without a history is among them"
    for one, other in zip(served, expected, strict=True):
        np.testing.assert_allclose(one.astype(float), other.numpy().astype(float), atol=1e-5)
