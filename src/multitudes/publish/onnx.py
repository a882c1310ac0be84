"""The user tower as an ONNX file, so that serving needs no torch.

The file holds no item table: the inputs of the history items are gathered in NumPy and fed, so items can be added
without a new tower. History length and interest counts are static, the batch is dynamic.
"""

import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from multitudes.batches.histories import MAX_FOLLOWS
from multitudes.nn.model import LookedUp, TwoTower
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
    config = run.config.model
    run.model.eval()
    batch = 2
    example = (
        torch.randn(batch, config.history, config.width),
        torch.ones(batch, config.history, dtype=torch.int64),
        torch.ones(batch, config.history, dtype=torch.bool),
        torch.zeros(batch, MAX_FOLLOWS, dtype=torch.int64),
        torch.zeros(batch, topics, dtype=torch.int64),
        torch.zeros(batch, run.prepared.user_feature.shape[1]),
    )
    dynamic = tuple({0: torch.export.Dim("batch")} for _ in example)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            _Served(run.model),
            example,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_shapes=dynamic,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        assert program is not None
        program.save(str(file), external_data=False)
