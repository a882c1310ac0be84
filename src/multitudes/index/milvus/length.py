"""One more coordinate makes all items equally long.

The graph is made for neighbours. The item of the largest inner product with a query is its neighbour only among items
of one length, and long items hide others. With √(length² − |x|²) behind each item x and 0 behind each query, every
inner product stays what it was, to the last bit, and the lengths are equal (Bachrach et al., RecSys 2014). Measured at
12,000 items of a factor model, 16 links: without it no number of candidates finds more than 0.994 of the best 100; with
it 1,600 find 1.0.

Legend: n items · D dimensions.
"""

import numpy as np
from numpy.typing import NDArray

_FARTHEST = 4  # medians: one very long item must not drown the differences of all others in the coordinate


def common_length(vectors_nD: NDArray[np.float32]) -> float:
    """Return the length that all items get; the few that are longer keep theirs."""
    length_n = np.sqrt(_squares(vectors_nD))
    return float(min(length_n.max(), _FARTHEST * np.median(length_n)))


def lengthened(vectors_nD: NDArray[np.float32], length: float) -> NDArray[np.float32]:
    """Return items of one length (n, D + 1)."""
    missing_n = np.sqrt(np.maximum(0, length**2 - _squares(vectors_nD)))
    return np.hstack([vectors_nD, missing_n[:, None].astype(np.float32)])


def as_queries(vectors_nD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return queries whose inner product with what was lengthened is that with what it was before (n, D + 1)."""
    return np.hstack([vectors_nD, np.zeros((len(vectors_nD), 1), dtype=np.float32)])


def _squares(vectors_nD: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.einsum("nd,nd->n", vectors_nD, vectors_nD, dtype=np.float64))
