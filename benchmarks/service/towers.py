"""Untrained user towers of the usual size: the cost of a request does not depend on quality.

``python -m benchmarks.service.towers`` counts the nodes that ONNX Runtime leaves of a tower, and times a user in it.

The crossing of a tower has a skip connection. With small weights in the crossing, user vectors are near the items, so
an index searches them like those of a trained model. All layers are present and computed.
"""

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks import SEED
from benchmarks.index.corpus import Corpus, Vectors
from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.timing import spread
from multitudes.atomic import write_text
from multitudes.batches.histories import MAX_TOWER_TOPICS
from multitudes.nn.item_tower import ItemFeatures
from multitudes.nn.methods import Method
from multitudes.nn.two_tower import DataSizes, TwoTower
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.publishing.onnx_export import write_user_tower
from multitudes.release.onnx_session import DISABLED_OPTIMIZER, open_tower, run_tower
from multitudes.retrieval.user_vectors import USER_TOWER_INPUTS, USER_TOWER_OUTPUTS

RESULTS = ROOT / "benchmarks" / "results" / "towers.json"
_WIDTH, _HISTORY, _TOPICS, _BATCHES, _CALLS, _ROUNDS = 64, 100, 100, (1, 16), 200, 5
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
                nn.init.xavier_uniform_(_last_linear(crossing).weight, gain=_CROSSING_GAIN)  # they begin at zero
    write_user_tower(model, config.history, 0, CONDITIONS if method == "joint" else 0, file)


def _last_linear(module: nn.Module) -> nn.Linear:
    """Return the last linear map of a module."""
    return [part for part in module.modules() if isinstance(part, nn.Linear)][-1]


def measure() -> dict[str, Any]:
    """Return for each method the nodes of its tower, and the CPU milliseconds of a user alone and in company."""
    circumstances, figures = MeasurementContext(), dict[str, Any]()
    centre_TD = Corpus("latent", _TOPICS, _WIDTH).users(_TOPICS, "topics")[:, 0]
    methods: tuple[Method, ...] = ("single", "joint")
    with TemporaryDirectory() as folder:
        for method in methods:
            file = Path(folder) / f"{method}.onnx"
            write_tower(method, centre_TD, _HISTORY, file)
            conditions = CONDITIONS if method == "joint" else 0
            session = open_tower(file)
            figures[method] = {
                "nodes": _count_nodes(file),
                "cpu_ms_of_a_user": {batch: _cpu_ms(session, batch, conditions) for batch in _BATCHES},
            }
    return {"name": "towers", **circumstances.head(), "seeds": [SEED], "figures": figures}


def _count_nodes(file: Path) -> int:
    """Return the number of nodes of a tower as it is run."""
    options, optimised = onnxruntime.SessionOptions(), file.with_suffix(".optimised")
    options.optimized_model_filepath, options.log_severity_level = str(optimised), 3
    onnxruntime.InferenceSession(
        str(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=[DISABLED_OPTIMIZER]
    )
    return len(onnx.load(str(optimised)).graph.node)


def _cpu_ms(session: Any, batch: int, conditions: int) -> dict[str, float]:  # noqa: ANN401 (onnxruntime has no types)
    rng = np.random.default_rng(SEED)
    arrays: tuple[NDArray[Any], ...] = (
        rng.standard_normal((batch, _HISTORY, _WIDTH), dtype=np.float32),
        np.ones((batch, _HISTORY), np.int64),
        np.ones((batch, _HISTORY), np.bool_),
        rng.integers(1, _TOPICS, (batch, MAX_TOWER_TOPICS)),
        rng.integers(1, _TOPICS, (batch, conditions)),
        np.zeros((batch, 0), np.float32),
    )
    inputs = dict(zip(USER_TOWER_INPUTS, arrays, strict=True))
    ms = []
    for _ in range(_ROUNDS):
        began = time.thread_time()
        for _ in range(_CALLS // batch):
            run_tower(session, inputs, USER_TOWER_OUTPUTS, "tower")
        ms.append(1000 * (time.thread_time() - began) / (_CALLS // batch * batch))
    return spread(ms)


if __name__ == "__main__":
    record = measure()
    write_text(RESULTS, json.dumps(record, indent=1, allow_nan=False) + "\n")
    print(json.dumps(record["figures"]))
