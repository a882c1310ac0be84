"""How many topics a user's candidates and hits cover, and how a user's interests and two lists differ.

Topics are the offline proxy for the paper's adopted pincepts.

Legend: B users · T topics · P pairs of a user and an item (candidates or hits) · K interests · D dimensions · N
candidates. Topics of items are ragged: item ``i`` has ``topic[topic_offset[i] : topic_offset[i + 1]]``.
"""

import numpy as np
from numpy.typing import NDArray

from multitudes.metrics.bootstrap import ratio_or_nan


def topic_counts(
    user_P: NDArray[np.int64],
    item_P: NDArray[np.int64],
    topic_offset: NDArray[np.int64],
    topic: NDArray[np.integer],
    shape: tuple[int, int],
) -> NDArray[np.int64]:
    """Return how often each topic, numbered from 1, occurs among each user's items: (B, T + 1), column 0 being zero."""
    first_P = topic_offset.take(item_P)
    n_topics_P = topic_offset.take(item_P + 1) - first_P
    shift_P = first_P - (np.cumsum(n_topics_P) - n_topics_P)
    owner = np.repeat(np.arange(len(item_P)), n_topics_P)
    topics = topic.take(np.arange(len(owner)) + shift_P.take(owner))
    n_users, width = shape
    cell = (user_P * width).take(owner) + topics
    return np.bincount(cell, minlength=n_users * width).reshape(n_users, width)


def coverage(count_BT: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of distinct topics of each user, shape (B,)."""
    return np.asarray(np.count_nonzero(count_BT, axis=1))


def entropy(count_BT: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the entropy in nats of each user's topics, shape (B,); zero for none or one."""
    return _entropy(count_BT / np.maximum(count_BT.sum(axis=1, keepdims=True), 1))


def _entropy(share_BT: NDArray[np.floating]) -> NDArray[np.float64]:
    log_BT = np.log(share_BT, out=np.zeros_like(share_BT), where=share_BT > 0)
    return np.asarray(np.abs((share_BT * log_BT).sum(axis=1)))


def popularity_class(count_I: NDArray[np.int64]) -> NDArray[np.int8]:
    """Return 0, 1 or 2 for items of the head, torso or tail, shape (I,).

    The head is the fewest most popular items that make half of all training events, the torso the next ones up to .8,
    the tail the rest. Equal counts are ordered by item number.
    """
    order = np.argsort(-count_I, kind="stable")
    before = np.cumsum(count_I[order]) - count_I[order]  # events of all more popular items
    share = before / max(int(count_I.sum()), 1)
    classes = np.empty(len(count_I), dtype=np.int8)
    classes[order] = np.where(count_I[order] == 0, 2, np.searchsorted([0.5, 0.8], share, side="right"))
    return classes


def effective_interests(weight_BK: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return exp(entropy) of each user's weights, shape (B,): K equal weights give K, one weight 1, none 0."""
    total_B1 = weight_BK.sum(axis=1, keepdims=True, dtype=np.float64)
    share_BK = weight_BK / np.where(total_B1 > 0, total_B1, 1.0)
    return np.where(total_B1[:, 0] > 0, np.exp(_entropy(share_BK)), 0.0)


def mean_pairwise_cosine(vectors_BKD: NDArray[np.floating], mask_BK: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean cosine over the pairs of each user's vectors, shape (B,); NaN with fewer than two.

    Near 1 the interests have collapsed into one; the K vectors then cost K searches for one result.
    """
    length_BK1 = np.linalg.norm(vectors_BKD, axis=2, keepdims=True)
    unit_BKD = np.where(mask_BK[:, :, None], vectors_BKD / np.maximum(length_BK1, 1e-12), 0.0)
    n_B = mask_BK.sum(axis=1)
    # Σ over all ordered pairs = |Σ unit|² − Σ |unit|².
    total_B = (unit_BKD.sum(axis=1) ** 2).sum(axis=1) - (unit_BKD**2).sum(axis=(1, 2))
    pairs_B = (n_B * (n_B - 1)).astype(np.float64)
    return ratio_or_nan(total_B, pairs_B)


def overlap(first_BN: NDArray[np.int64], second_BN: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return |A ∩ B| / min(|A|, |B|) of two candidate lists of each user, shape (B,); zeros are padding.

    NaN where one of the lists is empty. The paper reports 3.2 % between implicit and explicit candidates.
    """
    result = np.full(len(first_BN), np.nan)
    for b, (first, second) in enumerate(zip(first_BN, second_BN, strict=True)):
        one, other = first[first > 0], second[second > 0]
        if len(one) and len(other):
            result[b] = len(np.intersect1d(one, other)) / min(len(one), len(other))
    return result
