"""How many topics a user's candidates and hits cover: the offline proxy for the paper's adopted pincepts.

Legend: B users · T topics · P pairs of a user and an item (candidates or hits). Topics of items are ragged: item ``i``
has ``topic[topic_offset[i] : topic_offset[i + 1]]``.
"""

import numpy as np
from numpy.typing import NDArray


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
    distinct_B: NDArray[np.int64] = np.count_nonzero(count_BT, axis=1)
    return distinct_B


def entropy(count_BT: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the entropy in nats of each user's topics, shape (B,); zero for none or one."""
    total_B1 = np.maximum(count_BT.sum(axis=1, keepdims=True), 1)
    share_BT = count_BT / total_B1
    log_BT = np.log(share_BT, out=np.zeros_like(share_BT), where=share_BT > 0)
    entropy_B: NDArray[np.float64] = np.abs((share_BT * log_BT).sum(axis=1))
    return entropy_B


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
