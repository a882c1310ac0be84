"""Streaming estimate of how often an item is drawn into the pool of negatives (Yi et al. 2019, algorithm 2).

For each item: A, the step at which it was last drawn; B, the moving average of the steps between two draws. Then 1 / B
is the probability that a step's pool holds the item. Needs no pass over the data and follows drift.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class StreamingFrequency:
    """The two arrays of the estimate, one entry per item number; changed in place by ``update``."""

    last: NDArray[np.float64]
    interval: NDArray[np.float64]
    rate: float  # alpha, how fast the moving average follows

    @classmethod
    def start(cls, n_items: int, per_step: int, rate: float = 0.05) -> "StreamingFrequency":
        """Begin as if every item were equally likely to be among ``per_step`` distinct draws."""
        interval = np.full(n_items + 1, max(1.0, n_items / max(per_step, 1)))
        return cls(last=np.zeros(n_items + 1), interval=interval, rate=rate)

    def update(self, step: int, items: NDArray[np.int64]) -> None:
        """Record that ``items`` (distinct) were drawn at ``step``, counted from 1."""
        gap = step - self.last[items]
        self.interval[items] = (1 - self.rate) * self.interval[items] + self.rate * gap
        self.last[items] = step

    def probability(self, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probability that one step's draw holds each item, in (0, 1]."""
        return 1.0 / np.maximum(self.interval[items], 1.0)
