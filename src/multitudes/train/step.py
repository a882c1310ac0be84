"""One optimisation step: draw the pool of negatives, the loss of the batch, the gradient, the update.

Every random draw of a step is a function of (seed, step), so a resumed run repeats what an unbroken one does. Which
examples and negatives a step has does not depend on how many ranks or parts share it; dropout and the first seeds of
interests do.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multitudes.batches.examples import WHOLE, Batch, Examples, Share
from multitudes.batches.frequency import StreamingFrequency
from multitudes.batches.negatives import Pool, draw_pool, log_inclusion
from multitudes.batches.windows import Dealt
from multitudes.data.prepared import Prepared
from multitudes.errors import UsageError
from multitudes.nn.losses import Weighted
from multitudes.nn.model import TwoTower
from multitudes.seeding import generator, stream_seed
from multitudes.train.build import build_model
from multitudes.train.checkpoint import Position, State
from multitudes.train.config import RunConfig
from multitudes.train.objective import TargetLogQ, batch_loss, total
from multitudes.train.optimizer import Adam
from multitudes.train.parallel import ALONE, Ranks
from multitudes.train.sharded import distribute, sum_gradients

GRADIENT_NORM = 5.0  # gradients of dense weights are cut to this length


def fresh_state(prepared: Prepared, config: RunConfig, ranks: Ranks = ALONE) -> State:
    """Return the state before the first step; weights are a function of the seed, and of several ranks each has its."""
    torch.manual_seed(stream_seed(config.seed, "weights"))
    model = distribute(build_model(prepared, config.method, config.model), ranks).to(device(config.train.device))
    settings = config.train
    optimizers = [
        Adam(dense(model), rate=settings.learning_rate, decay=settings.weight_decay),
        Adam([model.items.id_embedding.weight], rate=settings.learning_rate, sparse=True),
    ]
    frequency = StreamingFrequency.start(prepared.n_items, settings.in_batch)
    return State(model, optimizers, frequency, loss_sums={}, position=Position())


def dense(model: TwoTower) -> list[Tensor]:
    """Return all weights but the id embedding."""
    return [p for p in model.parameters() if p is not model.items.id_embedding.weight]


def gradients(
    state: State, examples: Examples, dealt: Dealt, config: RunConfig, ranks: Ranks = ALONE, parts: int = 1
) -> dict[str, Tensor]:
    """Leave the gradient of a batch's loss in the weights, and return the loss by kind.

    Both are of the whole batch, of which each of ``ranks`` goes through its rows, in ``parts``. A mean over all rows
    needs the sum of their weights before the first part goes back: more than one are read twice.
    """
    for optimizer in state.optimizers:
        optimizer.zero_grad()
    pool = _pool(state, examples.targets(dealt), examples.prepared.n_items, config)
    shares = [Share(ranks.rank + part * ranks.size, ranks.size * parts) for part in range(parts)]

    def losses(share: Share) -> dict[str, Weighted]:
        return _losses(state, examples.batch(dealt, share), pool, share, config, ranks)

    with torch.set_grad_enabled(parts == 1):
        read = [losses(share) for share in shares]
    whole = _added(read, ranks)
    for share in shares:
        own = read[0] if parts == 1 else losses(share)
        means = {kind: Weighted(loss.sum, whole[kind].weight).mean() for kind, loss in own.items()}
        total(means, config.train).backward()  # type: ignore[no-untyped-call]
    sum_gradients(dense(state.model), ranks)
    return {kind: loss.mean() for kind, loss in whole.items()}


def descend(state: State) -> None:
    """Take one step down the gradient that the weights hold."""
    torch.nn.utils.clip_grad_norm_(dense(state.model), GRADIENT_NORM)
    for optimizer in state.optimizers:
        optimizer.step()


def _pool(state: State, positives: NDArray[np.int64], n_items: int, config: RunConfig) -> Pool:
    """Draw the negatives of the whole batch, the same at every rank; ``positives``: its targets."""
    step, settings = state.position.step, config.train
    draws = generator(config.seed, "negatives", step)
    return draw_pool(positives, n_items, settings.in_batch, settings.uniform, state.frequency, step, draws)


def _losses(
    state: State, batch: Batch, pool: Pool, share: Share, config: RunConfig, ranks: Ranks
) -> dict[str, Weighted]:
    """Return the losses of some rows of a batch by kind, with their graph."""
    step, seed, settings = state.position.step, config.seed, config.train
    n_items = len(state.frequency.last) - 1
    own = () if share == WHOLE else share  # who shares a batch draws other dropout and other first seeds

    def log_q(items: NDArray[np.int64]) -> NDArray[np.float32]:
        pooled = settings.in_batch > 0
        found = log_inclusion(items.ravel(), n_items, settings.uniform, state.frequency, use_batch=pooled)
        return found.reshape(items.shape)

    torch.manual_seed(stream_seed(seed, "dropout", step, *own))
    target_log_q = TargetLogQ(log_q(batch.target_BW), log_q(batch.dense.target_T))
    state.model.train()
    routing = torch.Generator().manual_seed(stream_seed(seed, "routing", step, *own))
    return batch_loss(state.model, batch, pool, target_log_q, settings, routing, ranks)


def _added(parts: list[dict[str, Weighted]], ranks: Ranks) -> dict[str, Weighted]:
    """Return the sums over all parts and ranks, without a graph."""
    kinds = list(parts[0])
    values = [torch.stack([torch.stack(part[kind]) for kind in kinds]).detach().cpu().double() for part in parts]
    added = ranks.sum(torch.stack(values).sum(dim=0)).float()
    return {kind: Weighted(*pair) for kind, pair in zip(kinds, added, strict=True)}


def device(name: str) -> torch.device:
    """Return where to train.

    Raises:
        UsageError: there is no such device.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("[train] device = 'cuda': torch sees no GPU here; use 'auto' or 'cpu'")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
