"""Towers as ONNX files, so that serving needs no torch: the writing of any, and the user tower.

The user tower's file holds no item table: the inputs of the history items are gathered in NumPy and fed, so items can
be added without a new tower. History length and interest counts are static, the batch is dynamic.

The item tower as an ONNX file, for items that come after a release was published: no torch, no id of their own.

Legend: N items · G topics per item · F features · E width of their own embeddings · D width of the vectors.
"""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from multitudes.batches.histories import MAX_FOLLOWED_TOPICS
from multitudes.nn.item_tower import ItemFeatures
from multitudes.nn.two_tower import HistoryInputs, TwoTower
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.retrieval.item_updates import ITEM_TOWER_INPUTS, ITEM_TOWER_OUTPUTS
from multitudes.retrieval.user_vectors import USER_TOWER_INPUTS, USER_TOWER_OUTPUTS
from multitudes.training.trained_run import TrainedRun


class _ServedUserTower(nn.Module):
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
            HistoryInputs(input_BLD, action_BL, valid_BL, follow_BF, topic_BC, user_feature_BP)
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
        torch.zeros(batch, MAX_FOLLOWED_TOPICS, dtype=torch.int64),
        torch.zeros(batch, topics, dtype=torch.int64),
        torch.zeros(batch, features),
    )
    shapes = tuple({0: torch.export.Dim("batch")} for _ in example)
    write_onnx(_ServedUserTower(model), example, USER_TOWER_INPUTS, USER_TOWER_OUTPUTS, shapes, file)


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


class _NewItemTower(nn.Module):
    """The item tower for items of which only the description is known."""

    id_1D: Tensor

    def __init__(self, model: TwoTower, id_1D: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("id_1D", id_1D)

    def forward(self, topic_NG: Tensor, feature_NF: Tensor, content_NE: Tensor) -> tuple[Tensor, Tensor]:
        input_ND = self.model.items.inputs_from_features(self.id_1D, ItemFeatures(topic_NG, feature_NF, content_NE))
        return input_ND, self.model.item_vectors(input_ND)


def export_item_tower(run: TrainedRun, file: Path) -> None:
    """Write the item tower of ``run`` to ``file``."""
    items = run.model.items
    run.model.eval()
    example = (
        torch.ones(2, 2, dtype=torch.int64),
        torch.zeros(2, items.feature_NF.shape[1]),
        torch.zeros(2, items.content_NE.shape[1]),
    )
    batch = torch.export.Dim("batch")
    shapes = ({0: batch, 1: torch.export.Dim("topics")}, {0: batch}, {0: batch})
    write_onnx(
        _NewItemTower(run.model, typical_id_embedding(run)),
        example,
        ITEM_TOWER_INPUTS,
        ITEM_TOWER_OUTPUTS,
        shapes,
        file,
    )


def typical_id_embedding(run: TrainedRun) -> Tensor:
    """Return what stands in for the id embedding of an item that was not trained (1, D): that of a typical event.

    Where embeddings hold how popular an item is, zeros and the plain mean say "hardly ever chosen", as most items of a
    long tail are; row 0, the unknown item, is never trained. What was measured is in docs/items.md.
    """
    return mean_over_events(run.model.items.id_embedding.weight.detach(), run.prepared.item_count)


def mean_over_events(weight_ID: Tensor, count_I: NDArray[np.int64]) -> Tensor:
    """Return the mean of rows, each as often as it was chosen (1, D)."""
    count_I1 = torch.tensor(count_I, dtype=weight_ID.dtype, device=weight_ID.device).unsqueeze(1)
    return (weight_ID * count_I1).sum(dim=0, keepdim=True) / count_I1.sum().clamp(min=1)


@torch.no_grad()
def vectors_without_ids(run: TrainedRun, item_N: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what the model makes of known items whose ids it is not told: what the exported tower is held to."""
    items, number_N = run.model.items, torch.from_numpy(item_N).to(run.model.items.topic_NG.device)
    known = ItemFeatures(items.topic_NG[number_N], items.feature_NF[number_N], items.content_NE[number_N])
    run.model.eval()
    input_ND, vector_ND = _NewItemTower(run.model, typical_id_embedding(run))(*known)
    return input_ND.cpu().numpy(), vector_ND.cpu().numpy()
