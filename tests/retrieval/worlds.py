"""Small catalogues and user vectors for the tests of this room."""

from collections.abc import Sequence

import numpy as np

from multitudes.batches.user_vectors import InterestKind, UserVectors
from multitudes.index.exact import ExactIndex
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Topics
from multitudes.retrieval.catalogue import Catalogue


def catalogue(vectors: np.ndarray, topics: Sequence[Sequence[int]] | None = None, counts=None) -> Catalogue:
    """Make a catalogue of items 1, 2, … with the given vectors and topics; item i has ``counts[i - 1]`` events."""
    n = len(vectors)
    topics = topics or [[] for _ in range(n)]
    offset = np.concatenate([[0], np.cumsum([len(t) for t in topics])]).astype(np.int64)
    flat = np.array([t for row in topics for t in row], dtype=np.int64)
    count = np.concatenate([[0], np.zeros(n) if counts is None else counts]).astype(np.int64)
    return Catalogue(LiveIndex(ExactIndex.build(np.arange(1, n + 1), vectors, Topics(offset, flat))), count)


def user_vectors(
    kinds: tuple[InterestKind, ...], vectors_BKD, weight_BK=None, mask_BK=None, topic_BK=None
) -> UserVectors:
    """Make user vectors; by default every one exists and weighs the same."""
    vectors_BKD = np.asarray(vectors_BKD, dtype=np.float32)
    shape = vectors_BKD.shape[:2]
    mask_BK = np.ones(shape, np.bool_) if mask_BK is None else np.asarray(mask_BK, np.bool_)
    weight_BK = np.ones(shape, np.float32) if weight_BK is None else np.asarray(weight_BK, np.float32)
    topic_BK = np.zeros(shape, np.int64) if topic_BK is None else np.asarray(topic_BK, np.int64)
    return UserVectors(kinds, vectors_BKD, weight_BK * mask_BK, mask_BK, topic_BK, np.full((shape[0], 1), -1))
