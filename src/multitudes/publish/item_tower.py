"""The item tower as an ONNX file, for items that come after a release was published: no torch, no id of their own.

Legend: N items · G topics per item · F features · E width of their own embeddings · D width of the vectors.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from multitudes.nn.items import ItemFeatures
from multitudes.nn.model import TwoTower
from multitudes.publish.onnx import write_onnx
from multitudes.retrieve.item_tower import INPUTS, OUTPUTS
from multitudes.train.run import TrainedRun


class _NewItem(nn.Module):
    """The item tower for items of which only the description is known."""

    id_1D: Tensor

    def __init__(self, model: TwoTower, id_1D: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("id_1D", id_1D)

    def forward(self, topic_NG: Tensor, feature_NF: Tensor, content_NE: Tensor) -> tuple[Tensor, Tensor]:
        input_ND = self.model.items.described(self.id_1D, ItemFeatures(topic_NG, feature_NF, content_NE))
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
    write_onnx(_NewItem(run.model, unknown_id(run)), example, INPUTS, OUTPUTS, shapes, file)


def unknown_id(run: TrainedRun) -> Tensor:
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
def as_new(run: TrainedRun, item_N: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what the model makes of known items whose ids it is not told: what the exported tower is held to."""
    items, number_N = run.model.items, torch.from_numpy(item_N).to(run.model.items.topic_NG.device)
    known = ItemFeatures(items.topic_NG[number_N], items.feature_NF[number_N], items.content_NE[number_N])
    run.model.eval()
    input_ND, vector_ND = _NewItem(run.model, unknown_id(run))(*known)
    return input_ND.cpu().numpy(), vector_ND.cpu().numpy()
