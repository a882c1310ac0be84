"""The negatives of a training step: a pool shared by the batch, and how likely each item is to be in it.

The pool holds some of the batch's own positives and uniform draws, each item once. How often an item is drawn from the
batch is estimated as training goes on (Yi et al. 2019, algorithm 2). For each item ``StreamingFrequency`` keeps A, the
step at which the item was last drawn, and B, the moving average of the steps between two draws; 1 / B is the
probability that a step's pool holds the item. It needs no pass over the data and follows drift, but B forgets its start
only with the draws of an item: for rare items the probability stays too high until training has long ended.

Legend: N items in the pool · I items.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass
class StreamingFrequency:
    """The estimate for every item number; ``update`` changes it in place."""

    last: NDArray[np.float64]  # A (I + 1,)
    interval: NDArray[np.float64]  # B (I + 1,)
    rate: float  # alpha, the weight of the newest interval in the moving average

    @classmethod
    def uniform(cls, n_items: int, per_step: int, rate: float = 0.05) -> "StreamingFrequency":
        """Return the estimate before the first step: every item is equally likely among ``per_step`` distinct draws."""
        interval = np.full(n_items + 1, max(1.0, n_items / max(per_step, 1)))
        return cls(last=np.zeros(n_items + 1), interval=interval, rate=rate)

    def update(self, step: int, items: NDArray[np.int64]) -> None:
        """Record that ``items`` (distinct) were drawn at ``step``, counted from 1."""
        gap = step - self.last[items]
        self.interval[items] = (1 - self.rate) * self.interval[items] + self.rate * gap
        self.last[items] = step

    def probability(self, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probability that the draw of one step holds each item, in (0, 1]."""
        return 1.0 / np.maximum(self.interval[items], 1.0)


class NegativePool(NamedTuple):
    """Distinct items, and for each the log probability that a step's pool holds it: the q of the logQ correction."""

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
) -> NegativePool:
    """Draw the pool of one step and update ``frequency`` with the items that were drawn from the batch.

    Pure in-batch negatives collapse on skewed data, since rare items are never negatives; uniform draws prevent that.
    """
    drawn = random.choice(positives, size=min(in_batch, len(positives)), replace=False) if in_batch else positives[:0]
    drawn = np.unique(drawn)
    frequency.update(step, drawn)
    pool = np.union1d(drawn, random.integers(1, n_items + 1, size=uniform))
    return NegativePool(pool, log_inclusion_probability(pool, n_items, uniform, frequency, use_batch=in_batch > 0))


def log_inclusion_probability(
    items: NDArray[np.int64], n_items: int, uniform: int, frequency: StreamingFrequency, *, use_batch: bool
) -> NDArray[np.float32]:
    """Return log P(item in the pool) = log(1 - (1 - p_batch)(1 - p_uniform)) for any items, pooled or not."""
    absent = np.full(len(items), (1.0 - 1.0 / n_items) ** uniform)
    if use_batch:
        absent = absent * (1.0 - frequency.probability(items))
    return np.log(np.maximum(1.0 - absent, 1e-12)).astype(np.float32)
