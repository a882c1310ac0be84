"""Towers as ONNX files, so that serving needs no torch: the writing of any, and the user tower.

The user tower's file holds no item table: the inputs of the history items are gathered in NumPy and fed, so items can
be added without a new tower. History length and interest counts are static, the batch is dynamic.
"""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multitudes.batches.histories import MAX_FOLLOWS
from multitudes.nn.model import LookedUp, TwoTower
from multitudes.nn.user_config import UserTowerConfig
from multitudes.retrieve.tower import INPUTS, OUTPUTS
from multitudes.train.run import TrainedRun


class _Served(nn.Module):
    """The user tower with the inputs and outputs of a release, positional as ONNX wants them."""

    def __init__(self, model: TwoTower) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_BLD: Tensor,
        action_BL: Tensor,
        valid_BL: Tensor,
        follow_BF: Tensor,
        topic_BC: Tensor,
        user_feature_BP: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        vectors = self.model.user_vectors(
            LookedUp(input_BLD, action_BL, valid_BL, follow_BF, topic_BC, user_feature_BP)
        )
        return (*vectors.interests, vectors.assignment_BL)


def export_user_tower(run: TrainedRun, file: Path, topics: int) -> None:
    """Write the user tower of ``run`` to ``file``; ``topics`` is the number of conditions drawn per request."""
    write_user_tower(run.model, run.config.model, run.prepared.user_feature.shape[1], topics, file)


def write_user_tower(model: TwoTower, config: UserTowerConfig, features: int, topics: int, file: Path) -> None:
    """Write the user tower of any model, of users with so many features; see ``export_user_tower``."""
    model.eval()
    batch = 2
    example = (
        torch.randn(batch, config.history, config.width),
        torch.ones(batch, config.history, dtype=torch.int64),
        torch.ones(batch, config.history, dtype=torch.bool),
        torch.zeros(batch, MAX_FOLLOWS, dtype=torch.int64),
        torch.zeros(batch, topics, dtype=torch.int64),
        torch.zeros(batch, features),
    )
    shapes = tuple({0: torch.export.Dim("batch")} for _ in example)
    write_onnx(_Served(model), example, INPUTS, OUTPUTS, shapes, file)


def write_onnx(
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    shapes: tuple[dict[int, Any], ...],
    file: Path,
) -> None:
    """Write a module as one ONNX file.

    Args:
        module: takes tensors and gives tensors, by position.
        example: of what it takes.
        inputs: names of what it takes.
        outputs: names of what it gives.
        shapes: for each input, the name of every dimension that may differ.
        file: where it is written.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module,
            example,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=shapes,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        assert program is not None
        program.save(str(file), external_data=False)
