"""Histories as rectangular arrays, gathered from the flat events. Histories are cut here and nowhere else.

Legend: B users · L history · F followed topics · P user features. **Column 0 is the most recent event**, padding is at
the end, so a longer history only adds columns and a position is a recency rank.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.data.prepared import InteractionData

MAX_TOWER_TOPICS = 32  # followed topics that a user tower reads; later ones in the table are dropped


class Histories(NamedTuple):
    """What a user tower reads about B users."""

    item_BL: NDArray[np.int64]  # 0 = padding or unknown
    action_BL: NDArray[np.int64]  # 0 = padding
    valid_BL: NDArray[np.bool_]  # True = real and usable
    follow_BF: NDArray[np.int64]  # 0 = padding
    user_feature_BP: NDArray[np.float32]


def gather_histories(
    users: InteractionData, user_B: NDArray[np.int64], end_B: NDArray[np.int64], length: int
) -> Histories:
    """Return the ``length`` newest events of users before the flat positions ``end_B``, and their followed topics."""
    position_BL = end_B[:, None] - 1 - np.arange(length)[None, :]
    real_BL = position_BL >= users.event_offset[user_B][:, None]
    position_BL = np.where(real_BL, position_BL, 0)
    item_BL = np.where(real_BL, users.event_item[position_BL], 0).astype(np.int64)
    action_BL = np.where(real_BL, users.event_action[position_BL], 0).astype(np.int64)
    valid_BL = real_BL & users.event_valid[position_BL] & (item_BL > 0)
    return Histories(
        item_BL=item_BL,
        action_BL=action_BL,
        valid_BL=valid_BL,
        follow_BF=followed_topics(users, user_B),
        user_feature_BP=np.asarray(users.user_feature[user_B]),
    )


def event_times(event_time: NDArray[np.int64], end_B: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Return the times of the events of ``gather_histories`` (B, L), in seconds or positions; arbitrary at padding."""
    return np.asarray(event_time[np.maximum(end_B[:, None] - 1 - np.arange(length)[None, :], 0)])


def slice_histories(histories: Histories, chosen: slice) -> Histories:
    """Return the histories of some of the users."""
    rows: Any = [array[chosen] for array in histories]
    return Histories(*rows)


def followed_topics(users: InteractionData, user_B: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the followed topics of each user (B, F), at most ``MAX_TOWER_TOPICS``, zero-padded at the end."""
    return pad_ragged(users.follow_offset, users.follow_topic, user_B, MAX_TOWER_TOPICS)


def pad_ragged(
    offset: NDArray[np.int64], values: NDArray[np.int32], row_B: NDArray[np.int64], width: int
) -> NDArray[np.int64]:
    """Return rows of a ragged array as a zero-padded matrix (B, width)."""
    start_B, stop_B = offset[row_B], offset[row_B + 1]
    position_BW = start_B[:, None] + np.arange(width)[None, :]
    real_BW = position_BW < stop_B[:, None]
    if len(values) == 0:
        return np.zeros(position_BW.shape, dtype=np.int64)
    return np.where(real_BW, values[np.where(real_BW, position_BW, 0)], 0).astype(np.int64)
