"""Easy and hard vectors for an approximate engine, and the recall of an index."""

import numpy as np
from numpy.typing import NDArray

from multitudes.index.exact import ExactIndex
from multitudes.index.protocol import Hits, Topics

N, D = 6_000, 32
Vectors = tuple[NDArray[np.float32], NDArray[np.float32]]


def clustered(rng: np.random.Generator, queries: int = 300) -> Vectors:
    """Make vectors around centres: a query's neighbours share one inverted list."""
    centre = rng.standard_normal((60, D))
    items = centre[rng.integers(60, size=N)] + 0.3 * rng.standard_normal((N, D))
    return items.astype(np.float32), centre[rng.integers(60, size=queries)].astype(np.float32)


def latent(rng: np.random.Generator, queries: int = 300) -> Vectors:
    """Make vectors of a factor model without clusters: neighbours are spread over many lists."""
    loading = rng.standard_normal((D // 2, D))
    items, users = (rng.standard_normal((count, D // 2)) @ loading for count in (N, queries))
    return items.astype(np.float32), users.astype(np.float32)


def by_topic(*masks: NDArray[np.bool_]) -> Topics:
    """Return the topics of items; item i is of topic t + 1 where ``masks[t][i]``."""
    mask_nT = np.stack(masks, axis=1)
    return Topics(np.concatenate([[0], np.cumsum(mask_nT.sum(axis=1))]), np.nonzero(mask_nT)[1] + 1)


def recall(found: Hits, truth: Hits) -> float:
    """Return the mean share of the truth that was found."""
    return float(np.mean([np.isin(truth.ids(q), found.ids(q)).mean() for q in range(len(truth.count_Q))]))


def exact(vectors: NDArray[np.float32], topics: Topics | None = None) -> ExactIndex:
    """Return the reference over items 0, 1, …"""
    return ExactIndex.build(np.arange(len(vectors)), vectors, topics)
