"""The pool of negatives of a training step: the batch's own positives and uniform draws, each item once.

Legend: N items in the pool.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.frequency import StreamingFrequency


class Pool(NamedTuple):
    """Distinct items and the log of the probability that a step's pool holds each: the q of logQ."""

    item_N: NDArray[np.int64]
    log_q_N: NDArray[np.float32]


def draw_pool(
    positives: NDArray[np.int64],
    n_items: int,
    in_batch: int,
    uniform: int,
    frequency: StreamingFrequency,
    step: int,
    random: np.random.Generator,
) -> Pool:
    """Draw the pool of one step and update ``frequency`` with what was drawn from the batch.

    Pure in-batch negatives collapse on skewed data, since rare items never are negatives; uniform draws are the cure.
    """
    shared = random.choice(positives, size=min(in_batch, len(positives)), replace=False) if in_batch else positives[:0]
    shared = np.unique(shared)
    frequency.update(step, shared)
    pool = np.union1d(shared, random.integers(1, n_items + 1, size=uniform))
    return Pool(pool, log_inclusion(pool, n_items, uniform, frequency, use_batch=in_batch > 0))


def log_inclusion(
    items: NDArray[np.int64], n_items: int, uniform: int, frequency: StreamingFrequency, *, use_batch: bool
) -> NDArray[np.float32]:
    """Return log P(item in the pool) = log(1 - (1 - p_batch)(1 - p_uniform)) for any items, pooled or not."""
    absent = np.full(len(items), (1.0 - 1.0 / n_items) ** uniform)
    if use_batch:
        absent = absent * (1.0 - frequency.probability(items))
    return np.log(np.maximum(1.0 - absent, 1e-12)).astype(np.float32)
