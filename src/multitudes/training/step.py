"""One optimisation step: draw the pool of negatives, compute loss and gradient, update the weights.

Every random draw of a step is a function of (seed, step), so a resumed run repeats the draws of an uninterrupted one.
The examples and negatives of a step do not depend on the number of ranks or micro batches; dropout and the first seeds
of interests do.
"""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multitudes.batches.examples import WHOLE_BATCH, Batch, Examples, MicroBatch
from multitudes.batches.negatives import NegativePool, StreamingFrequency, draw_pool, log_inclusion_probability
from multitudes.batches.windows import WindowBatch
from multitudes.data.prepared import PreparedData
from multitudes.errors import UsageError
from multitudes.linear.interactions import interaction_matrix, item_factors
from multitudes.nn.losses import WeightedLoss
from multitudes.nn.two_tower import TwoTower
from multitudes.seeding import generator, stream_seed
from multitudes.training.checkpoint import Position, TrainingState
from multitudes.training.config import RunConfig
from multitudes.training.distributed import SINGLE_PROCESS, Ranks, all_reduce_gradients, shard_item_table
from multitudes.training.objective import TargetLogQ, batch_loss, total_loss
from multitudes.training.optimizer import Adam
from multitudes.training.trained_run import build_model

MAX_GRADIENT_NORM = 5.0  # gradients of dense weights are clipped to this norm


def initial_state(prepared: PreparedData, config: RunConfig, ranks: Ranks = SINGLE_PROCESS) -> TrainingState:
    """Return the state before the first step; the weights are a function of the seed. Each rank has its rows only."""
    torch.manual_seed(stream_seed(config.seed, "weights"))
    settings, model = config.train, build_model(prepared, config.method, config.model)
    if settings.item_init == "svd" and not config.continues:  # a warm start has the embeddings of the run before
        initialize_items(model, prepared, include_validation=config.final)
    model = shard_item_table(model, ranks).to(training_device(settings.device))
    optimizers = [
        Adam(dense_weights(model), rate=settings.learning_rate),
        Adam([model.items.id_embedding.weight], rate=settings.learning_rate, sparse=True),
    ]
    frequency = StreamingFrequency.uniform(prepared.n_items, settings.in_batch)
    return TrainingState(model, optimizers, frequency, loss_sums={}, position=Position())


def dense_weights(model: TwoTower) -> list[Tensor]:
    """Return all weights except the item id embedding."""
    return [p for p in model.parameters() if p is not model.items.id_embedding.weight]


def compute_gradients(
    state: TrainingState,
    examples: Examples,
    windows: WindowBatch,
    config: RunConfig,
    ranks: Ranks = SINGLE_PROCESS,
    micro_batches: int = 1,
) -> dict[str, Tensor]:
    """Compute the gradient of a batch's loss, in place on the weights, and return the loss by kind.

    Both are those of the whole batch. Each rank computes its rows, in ``micro_batches``. A mean over all rows needs the
    sum of their weights before the first backward pass, so several micro batches are computed twice.
    """
    for optimizer in state.optimizers:
        optimizer.zero_grad()
    settings, step, n_items = config.train, state.position.step, examples.prepared.n_items
    draws = generator(config.seed, "negatives", step)  # of the whole batch, the same on every rank
    pool = draw_pool(
        examples.targets(windows), n_items, settings.in_batch, settings.uniform, state.frequency, step, draws
    )
    stride = ranks.size * micro_batches
    own_batches = [MicroBatch(ranks.rank + number * ranks.size, stride) for number in range(micro_batches)]

    def losses(micro_batch: MicroBatch) -> dict[str, WeightedLoss]:
        return _losses(state, examples.batch(windows, micro_batch), pool, micro_batch, config, ranks)

    with torch.set_grad_enabled(micro_batches == 1):
        micro_batch_losses = [losses(micro_batch) for micro_batch in own_batches]
    batch_losses = _sum_losses(micro_batch_losses, ranks)
    for micro_batch in own_batches:
        own = micro_batch_losses[0] if micro_batches == 1 else losses(micro_batch)
        means = {kind: WeightedLoss(loss.sum, batch_losses[kind].weight).mean() for kind, loss in own.items()}
        total_loss(means, settings).backward()  # type: ignore[no-untyped-call]
    all_reduce_gradients(dense_weights(state.model), ranks)
    return {kind: loss.mean() for kind, loss in batch_losses.items()}


def optimizer_step(state: TrainingState) -> None:
    """Clip the gradients and update the weights."""
    torch.nn.utils.clip_grad_norm_(dense_weights(state.model), MAX_GRADIENT_NORM)
    for optimizer in state.optimizers:
        optimizer.step()


def _losses(
    state: TrainingState, batch: Batch, pool: NegativePool, micro_batch: MicroBatch, config: RunConfig, ranks: Ranks
) -> dict[str, WeightedLoss]:
    """Return the losses of a micro batch by kind, with their graph."""
    step, seed, settings = state.position.step, config.seed, config.train
    own = () if micro_batch == WHOLE_BATCH else micro_batch  # micro batches draw different dropout and first seeds

    def log_q(items: NDArray[np.int64]) -> NDArray[np.float32]:
        pooled, n_items = settings.in_batch > 0, len(state.frequency.last) - 1
        found = log_inclusion_probability(items.ravel(), n_items, settings.uniform, state.frequency, use_batch=pooled)
        return found.reshape(items.shape)

    torch.manual_seed(stream_seed(seed, "dropout", step, *own))
    target_log_q = TargetLogQ(log_q(batch.target_BW), log_q(batch.dense.target_T))
    state.model.train()
    routing = torch.Generator().manual_seed(stream_seed(seed, "routing", step, *own))
    return batch_loss(state.model, batch, pool, target_log_q, settings, routing, ranks)


def _sum_losses(losses: list[dict[str, WeightedLoss]], ranks: Ranks) -> dict[str, WeightedLoss]:
    """Return the sums over all micro batches and ranks, without a graph."""
    kinds = list(losses[0])
    values = [torch.stack([torch.stack(one[kind]) for kind in kinds]).detach().cpu().double() for one in losses]
    total = ranks.sum(torch.stack(values).sum(dim=0)).float()
    return {kind: WeightedLoss(*pair) for kind, pair in zip(kinds, total, strict=True)}


def training_device(name: str) -> torch.device:
    """Return the device to train on; ``auto`` is a GPU if there is one.

    Raises:
        UsageError: there is no such device.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("[train] device = 'cuda': torch sees no GPU here; use 'auto' or 'cpu'")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


MAX_EVENTS: Final = 20_000_000  # of more, those of evenly spaced users are read


def initialize_items(model: TwoTower, prepared: PreparedData, *, include_validation: bool) -> None:
    """Replace the id embeddings of the items that have training interactions by singular vectors, in place.

    With random embeddings, a short training spends most of its steps on what a singular value decomposition tells at
    once: which items have users in common; ``docs/training.md`` has what it brings. X is the binary matrix of users and
    items, each entry divided by the square roots of the interactions of its user and of its item. With X ≈ U S Vᵀ, the
    embedding of an item is its row of V √S, at the scale of the random ones, which items without interactions keep.
    """
    every = -(-max(len(prepared.event_item), 1) // MAX_EVENTS)
    users = None if every == 1 else np.arange(0, prepared.n_users, every)
    matrix = interaction_matrix(prepared, include_validation=include_validation, users=users)
    weight = model.items.id_embedding.weight
    factors_IR = item_factors(matrix, weight.shape[1])
    has_interactions_I = factors_IR.any(axis=1)
    if not has_interactions_I.any():
        return
    with torch.no_grad():
        scale = float(weight.std()) / np.sqrt((factors_IR[has_interactions_I] ** 2).mean())
        rows = torch.from_numpy(np.flatnonzero(has_interactions_I))
        weight[rows, : factors_IR.shape[1]] = torch.from_numpy(factors_IR[has_interactions_I] * np.float32(scale))
