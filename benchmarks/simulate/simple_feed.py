"""The feed by which a world is calibrated: popular items, and popular items of followed topics.

It needs no training, so the calibration does not depend on a method.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes_lab.simulation import draws
from multitudes_lab.simulation.history import ImpressionCounts
from multitudes_lab.simulation.world import SAVE, Actions, World

_SLOT_S = 20  # seconds between two slots of a list


def popularity_lists(
    world: World, day: int, user_B: NDArray[np.int64], known_I: NDArray[np.int64], slots: int
) -> NDArray[np.int64]:
    """Return a list for each user (B, slots): popular items, every other one of a topic that the user follows.

    Args:
        world: the world.
        day: the day; only items that exist then.
        user_B: the users.
        known_I: saves of each item so far.
        slots: slots of a list; the second occurrence of an item leaves its slot empty (-1).
    """
    items = np.flatnonzero(world.created_I <= day)
    by_topic = items[np.argsort(world.topic_I[items], kind="stable")]
    cdf = np.append(0.0, np.cumsum(known_I[by_topic] + 0.1))  # new items have a small weight
    ends = np.searchsorted(world.topic_I[by_topic], np.arange(len(world.topics) + 1))
    slot_S = np.arange(slots)
    seed = world.config.seed
    follows_B = np.diff(world.followed_offset)[user_B]
    which_BS = draws.uniform(seed, "feed topic", day, user_B[:, None], slot_S) * follows_B[:, None]
    row_BS = world.followed_offset[user_B][:, None] + which_BS.astype(np.int64)
    explicit_BS = (slot_S % 2 == 1) & (follows_B > 0)[:, None]
    topic_BS = (
        world.followed_topic[np.where(explicit_BS, row_BS, 0)] if len(world.followed_topic) else np.zeros_like(row_BS)
    )
    low_BS = np.where(explicit_BS, cdf[ends[topic_BS]], 0.0)
    high_BS = np.where(explicit_BS, cdf[ends[topic_BS + 1]], cdf[-1])
    draw_BS = draws.uniform(seed, "feed", day, user_B[:, None], slot_S)
    drawn_BS = np.searchsorted(cdf, low_BS + draw_BS * (high_BS - low_BS), side="right") - 1
    return blank_repeats(by_topic[np.minimum(drawn_BS, len(by_topic) - 1)])


def simulate_feed(world: World, past: int = 30, days: int = 14, slots: int = 30) -> pl.DataFrame:
    """Return the canonical events of ``past`` days of organic saves and ``days`` with the feed, sorted by time."""
    known_I = np.zeros(world.items, dtype=np.int64)
    days_of_actions: list[Actions] = []
    impressions, mood_U = ImpressionCounts(world.items), np.zeros(world.users, dtype=np.float32)
    for day in range(-past, days):
        if day >= 0:
            user_B = world.visitors(day, mood_U)
            item_BS = popularity_lists(world, day, user_B, known_I, slots)
            appeal_BS = world.appeal(day, user_B, item_BS)
            action_BS = world.draw_reactions(day, user_B, item_BS, appeal_BS, impressions.counts(user_B, item_BS))
            impressions.add(user_B, item_BS)
            mood_U = world.update_mood(mood_U, user_B, action_BS)
            days_of_actions.append(_feed_saves(user_B, item_BS, action_BS, world.visit_times(day, user_B)))
        days_of_actions.append(world.organic_actions(day))
        newest = days_of_actions[-2 if day >= 0 else -1 :]
        known_I = known_I + sum(np.bincount(actions.item_E, minlength=world.items) for actions in newest)
    columns = [np.concatenate([actions[column] for actions in days_of_actions]) for column in range(3)]
    return pl.DataFrame(dict(zip(("user_id", "item_id", "timestamp"), columns, strict=True))).sort("timestamp")


def blank_repeats(item_BS: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return lists in which the second and later occurrences of an item are -1."""
    order_BS = np.argsort(item_BS, axis=1, kind="stable")
    sorted_BS = np.take_along_axis(item_BS, order_BS, axis=1)
    again_BS = np.zeros(item_BS.shape, dtype=np.bool_)
    again_BS[:, 1:] = sorted_BS[:, 1:] == sorted_BS[:, :-1]
    repeated_BS = np.empty_like(again_BS)
    np.put_along_axis(repeated_BS, order_BS, again_BS, axis=1)
    return np.where(repeated_BS, -1, item_BS)


def _feed_saves(
    user_B: NDArray[np.int64], item_BS: NDArray[np.int64], action_BS: NDArray[np.int8], begin_B: NDArray[np.int64]
) -> Actions:
    row_E, place_E = np.nonzero(action_BS == SAVE)
    time_E = begin_B[row_E] + _SLOT_S * place_E
    return Actions(user_B[row_E], item_BS[row_E, place_E], time_E, action_BS[row_E, place_E])
