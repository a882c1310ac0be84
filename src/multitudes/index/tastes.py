"""Tastes: clusters of item vectors, the same for all users.

A list is divided among the tastes of a user's history (``retrieval.allocation``), and evaluations count how many of
them a list serves (``metrics.coverage``).

Legend: N items · T tastes · D width.
"""

from typing import Final

import faiss
import numpy as np
from numpy.typing import NDArray

from multitudes.index.item_table import l2_normalize

TASTES: Final = 60  # more serve no more interests of the public sets, fewer are less exact
NO_TASTE: Final = -1  # of an item without a vector
_ROUNDS: Final = 25  # of k-means, which hardly moves after that
_STARTS: Final = 5  # the best of so many counts: one may leave two clusters together
_ITEMS_PER_TASTE: Final = 256  # more do not move a centre; k-means samples them
_MOST_ITEMS: Final = 1 << 20  # that it samples from: two copies of a large table would take gigabytes


def cluster_items(vectors_ND: NDArray[np.float32], tastes: int = TASTES, seed: int = 0) -> NDArray[np.float32]:
    """Return the centres of up to ``tastes`` clusters of directions, by spherical k-means: unit vectors (T, D).

    There is one for every four items at most. Vectors of zeros are left out.
    """
    present = np.flatnonzero(vectors_ND.any(axis=1))
    unit_ND = l2_normalize(vectors_ND[present[:: len(present) // _MOST_ITEMS + 1]])
    count = min(tastes, len(unit_ND) // 4)
    if count < 1:
        return np.zeros((0, vectors_ND.shape[1]), dtype=np.float32)
    kmeans = faiss.Kmeans(
        unit_ND.shape[1],
        count,
        niter=_ROUNDS,
        nredo=_STARTS,
        seed=seed + 1,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=_ITEMS_PER_TASTE,
    )
    kmeans.train(unit_ND)
    return np.asarray(kmeans.centroids, dtype=np.float32)


def nearest_tastes(vectors_ND: NDArray[np.float32], centre_TD: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return the taste of each item: the centre in its direction (N,); ``NO_TASTE`` for a vector of zeros."""
    if not len(centre_TD):
        return np.full(len(vectors_ND), NO_TASTE, dtype=np.int16)
    nearest_N = np.concatenate(
        [(chunk @ centre_TD.T).argmax(axis=1) for chunk in np.array_split(vectors_ND, len(vectors_ND) // 65_536 + 1)]
    )
    return np.where(vectors_ND.any(axis=1), nearest_N, NO_TASTE).astype(np.int16)
