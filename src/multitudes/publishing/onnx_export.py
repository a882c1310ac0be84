"""Export of the towers to ONNX files, so that serving and item updates need no torch.

The user tower's file contains no item table: NumPy gathers the inputs of the history items, so items can be added
without a new tower. The batch is dynamic; the length of histories and the number of interests are static. The item
tower computes vectors of items that are added later, from their description.

Legend: N items · G topics per item · F features · E width of the items' own embeddings · D width of the vectors.
"""

import gc
import logging
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from multitudes.batches.histories import MAX_TOWER_TOPICS
from multitudes.nn.two_tower import HistoryInputs, ItemFeatures, TwoTower
from multitudes.retrieval.item_updates import ITEM_TOWER_INPUTS, ITEM_TOWER_OUTPUTS
from multitudes.retrieval.user_vectors import USER_TOWER_INPUTS, USER_TOWER_OUTPUTS
from multitudes.training.trained_run import TrainedRun


class _ServedUserTower(nn.Module):
    """The user tower with the inputs and outputs of a release, by position, as ONNX requires."""

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


def export_user_tower(model: TwoTower, history: int, features: int, topics: int, file: Path) -> None:
    """Export the user tower of any model: the numbers of events and user features it reads, and of conditions drawn."""
    model.eval()
    batch, width = 2, model.items.id_embedding.embedding_dim
    example = (
        torch.randn(batch, history, width),
        torch.ones(batch, history, dtype=torch.int64),
        torch.ones(batch, history, dtype=torch.bool),
        torch.zeros(batch, MAX_TOWER_TOPICS, dtype=torch.int64),
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
    """Export a module, which takes and returns tensors by position, to one ONNX file; ``shapes``: what is dynamic."""
    with warnings.catch_warnings(), torch.no_grad(), ExitStack() as stack:
        gc.disable()  # looking for cycles among the exporter's millions of objects would be a sixth of its time
        stack.callback(gc.enable)
        warnings.simplefilter("ignore")  # deprecations inside of the exporter
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
    """The item tower for items without a trained id embedding."""

    id_1D: Tensor

    def __init__(self, model: TwoTower, id_1D: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("id_1D", id_1D)

    def forward(self, topic_NG: Tensor, feature_NF: Tensor, content_NE: Tensor) -> tuple[Tensor, Tensor]:
        input_ND = self.model.items.inputs_from_features(self.id_1D, ItemFeatures(topic_NG, feature_NF, content_NE))
        vector_ND = self.model.item_vectors(input_ND, content_NE)
        # That of a frozen tower is an input, which the exporter may name as the output: so it is joined of two parts.
        return input_ND, torch.cat([vector_ND[:, :1], vector_ND[:, 1:]], dim=1)


def export_item_tower(run: TrainedRun, file: Path) -> None:
    """Export the item tower of a run."""
    run.model.eval()
    items = run.model.items
    widths = items.feature_NF.shape[1], items.content_NE.shape[1]
    example = (torch.ones(2, 2, dtype=torch.int64), *(torch.zeros(2, width) for width in widths))
    batch = torch.export.Dim("batch")
    shapes = ({0: batch, 1: torch.export.Dim("topics")}, {0: batch}, {0: batch})
    tower = _NewItemTower(run.model, typical_id_embedding(run))
    write_onnx(tower, example, ITEM_TOWER_INPUTS, ITEM_TOWER_OUTPUTS, shapes, file)


def typical_id_embedding(run: TrainedRun) -> Tensor:
    """Return the id embedding to use for an item that was not trained (1, D): the mean over events.

    If embeddings encode popularity, zeros and the mean over items mean "hardly ever chosen", like most items of a long
    tail. Row 0, the unknown item, is never trained. Measurements: records/findings.md.
    """
    weight_ID = run.model.items.id_embedding.weight.detach()
    count_I1 = torch.tensor(run.prepared.item_count, dtype=weight_ID.dtype, device=weight_ID.device).unsqueeze(1)
    return (weight_ID * count_I1).sum(dim=0, keepdim=True) / count_I1.sum().clamp(min=1)


@torch.no_grad()
def vectors_without_ids(run: TrainedRun, item_N: NDArray[np.int64]) -> list[NDArray[np.float32]]:
    """Return the model's inputs and vectors of known items without their ids (N, D), to check the exported tower."""
    items, tower = run.model.items, _NewItemTower(run.model, typical_id_embedding(run))
    run.model.eval()
    known = items.features(torch.from_numpy(item_N).to(items.topic_NG.device))
    return [tensor.cpu().numpy() for tensor in tower(*known)]
