"""A blend: weighted Borda counts. N places of Q lists."""

import numpy as np
from numpy.typing import NDArray

from multitudes import BlendSpec, Hits


def points(lists: Hits, share_Q: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return what each place of each list adds: the places from there to its end, times the share of the list."""
    left_QN = lists.count_Q[:, None] - np.arange(lists.id_QN.shape[1])
    return (share_Q[:, None] * left_QN).astype(np.float32)


borda = BlendSpec("same vectors, blended by weighted Borda counts", terms=points)
