"""Histories as rectangular arrays, gathered from the flat events: the one place where a history is cut.

Legend: B users · L history · F followed topics · P user features. **Column 0 is the most recent event**, padding is at
the end, so a longer history only adds columns and a position is a recency rank.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

MAX_FOLLOWED_TOPICS = 32  # followed topics a user tower sees; more are cut in the order of the table


class UserEvents(Protocol):
    """The users' events and follows, flat: of a prepared folder or of a release. Names as in ``data.prepared``."""

    @property
    def event_offset(self) -> NDArray[np.int64]:
        """Where each user's events begin."""
        ...

    @property
    def event_item(self) -> NDArray[np.int32]:
        """Item numbers, 0 = unknown."""
        ...

    @property
    def event_action(self) -> NDArray[np.uint8]:
        """Action codes, from 1."""
        ...

    @property
    def event_valid(self) -> NDArray[np.bool_]:
        """Whether an event is usable."""
        ...

    @property
    def follow_offset(self) -> NDArray[np.int64]:
        """Where each user's followed topics begin."""
        ...

    @property
    def follow_topic(self) -> NDArray[np.int32]:
        """Topic numbers."""
        ...

    @property
    def user_feature(self) -> NDArray[np.float32]:
        """Features of the users."""
        ...


class Histories(NamedTuple):
    """What a user tower sees of B users."""

    item_BL: NDArray[np.int64]  # 0 = padding or unknown
    action_BL: NDArray[np.int64]  # 0 = padding
    valid_BL: NDArray[np.bool_]  # True = real and usable
    follow_BF: NDArray[np.int64]  # 0 = padding
    user_feature_BP: NDArray[np.float32]


def gather_histories(users: UserEvents, user_B: NDArray[np.int64], end_B: NDArray[np.int64], length: int) -> Histories:
    """Return the ``length`` most recent events of each user before the flat position ``end`` (exclusive)."""
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
    """Return the times of the events that ``gather_histories`` returns (B, L), seconds or positions; of padding, any time."""
    return np.asarray(event_time[np.maximum(end_B[:, None] - 1 - np.arange(length)[None, :], 0)])


def slice_histories(histories: Histories, chosen: slice) -> Histories:
    """Return some of the users."""
    return Histories(
        histories.item_BL[chosen],
        histories.action_BL[chosen],
        histories.valid_BL[chosen],
        histories.follow_BF[chosen],
        histories.user_feature_BP[chosen],
    )


def followed_topics(users: UserEvents, user_B: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the followed topics of each user, at most ``MAX_FOLLOWED_TOPICS``, zero-padded at the end."""
    return pad_ragged(users.follow_offset, users.follow_topic, user_B, MAX_FOLLOWED_TOPICS)


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
