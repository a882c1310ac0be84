"""One optimisation step: draw the pool of negatives, the loss of the batch, the gradient, the update.

Every random draw of a step is a function of (seed, step), so a resumed run repeats what an unbroken one does.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multitudes.batches.examples import Batch
from multitudes.batches.frequency import StreamingFrequency
from multitudes.batches.negatives import draw_pool, log_inclusion
from multitudes.data.prepared import Prepared
from multitudes.errors import UsageError
from multitudes.nn.model import TwoTower
from multitudes.seeding import generator, stream_seed
from multitudes.train.build import build_model
from multitudes.train.checkpoint import Position, State
from multitudes.train.config import RunConfig, TrainConfig
from multitudes.train.objective import TargetLogQ, batch_loss, total

GRADIENT_NORM = 5.0  # gradients of dense weights are cut to this length


def fresh_state(prepared: Prepared, config: RunConfig) -> State:
    """Return the state before the first step; weights are a function of the seed."""
    torch.manual_seed(stream_seed(config.seed, "weights"))
    model = build_model(prepared, config.method, config.model).to(_device(config.train.device))
    settings = config.train
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(dense(model), lr=settings.learning_rate, weight_decay=settings.weight_decay),
        # Touches the rows of a step only: updating a whole large vocabulary would cost more than the step.
        torch.optim.SparseAdam([model.items.id_embedding.weight], lr=settings.learning_rate),
    ]
    frequency = StreamingFrequency.start(prepared.n_items, settings.in_batch)
    return State(model, optimizers, frequency, best={}, loss_sums={}, position=Position())


def dense(model: TwoTower) -> list[Tensor]:
    """Return all weights but the id embedding."""
    return [p for p in model.parameters() if p is not model.items.id_embedding.weight]


def forward(state: State, batch: Batch, n_items: int, config: RunConfig) -> dict[str, Tensor]:
    """Return the losses of a batch by kind, with their graph."""
    step, seed, settings = state.position.step, config.seed, config.train
    torch.manual_seed(stream_seed(seed, "dropout", step))
    positives = batch.dense.target_T  # the targets of the windows are among them
    draws = generator(seed, "negatives", step)
    pool = draw_pool(positives, n_items, settings.in_batch, settings.uniform, state.frequency, step, draws)

    def log_q(items: NDArray[np.int64]) -> NDArray[np.float32]:
        pooled = settings.in_batch > 0
        found = log_inclusion(items.ravel(), n_items, settings.uniform, state.frequency, use_batch=pooled)
        return found.reshape(items.shape)

    target_log_q = TargetLogQ(log_q(batch.target_BW), log_q(positives))
    state.model.train()
    routing = torch.Generator().manual_seed(stream_seed(seed, "routing", step))
    return batch_loss(state.model, batch, pool, target_log_q, settings, routing)


def update(state: State, losses: dict[str, Tensor], config: TrainConfig) -> None:
    """Take one step down the gradient of the weighted sum of the losses."""
    for optimizer in state.optimizers:
        optimizer.zero_grad(set_to_none=True)
    total(losses, config).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(dense(state.model), GRADIENT_NORM)
    for optimizer in state.optimizers:
        optimizer.step()


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("[train] device = 'cuda': torch sees no GPU here; use 'auto' or 'cpu'")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
