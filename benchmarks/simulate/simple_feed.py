"""The feed by which a world is calibrated: what is popular, and what is popular in followed topics, for everybody.

It learns nothing, so that what a world is like does not depend on a method.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.simulation import draws
from multitudes.simulation.history import ImpressionCounts
from multitudes.simulation.world import SAVE, Actions, World

_SLOT_S = 20  # between two places of a list


def popularity_lists(
    world: World, day: int, user_B: NDArray[np.int64], known_I: NDArray[np.int64], slots: int
) -> NDArray[np.int64]:
    """Return a list for each user (B, slots): items by popularity, every other one of a topic that the user follows.

    Args:
        world: the world.
        day: the day, of which items must be there.
        user_B: who asks.
        known_I: saves of each item so far.
        slots: places of a list; where an item would be twice, its second place is empty (-1).
    """
    there = np.flatnonzero(world.created_I <= day)
    by_topic = there[np.argsort(world.topic_I[there], kind="stable")]
    upto = np.append(0.0, np.cumsum(known_I[by_topic] + 0.1))  # a little for what is new
    ends = np.searchsorted(world.topic_I[by_topic], np.arange(len(world.topics) + 1))
    place_S = np.arange(slots)
    seed = world.config.seed
    follows_B = np.diff(world.followed_offset)[user_B]
    which_BS = draws.uniform(seed, "feed topic", day, user_B[:, None], place_S) * follows_B[:, None]
    row_BS = world.followed_offset[user_B][:, None] + which_BS.astype(np.int64)
    explicit_BS = (place_S % 2 == 1) & (follows_B > 0)[:, None]
    topic_BS = (
        world.followed_topic[np.where(explicit_BS, row_BS, 0)] if len(world.followed_topic) else np.zeros_like(row_BS)
    )
    low_BS = np.where(explicit_BS, upto[ends[topic_BS]], 0.0)
    high_BS = np.where(explicit_BS, upto[ends[topic_BS + 1]], upto[-1])
    draw_BS = draws.uniform(seed, "feed", day, user_B[:, None], place_S)
    at_BS = np.searchsorted(upto, low_BS + draw_BS * (high_BS - low_BS), side="right") - 1
    return blank_repeats(by_topic[np.minimum(at_BS, len(by_topic) - 1)])


def simulate_feed(world: World, past: int = 30, days: int = 14, slots: int = 30) -> pl.DataFrame:
    """Return the canonical events of ``past`` days of organic saves and ``days`` with the feed, sorted by time."""
    known_I = np.zeros(world.items, dtype=np.int64)
    parts: list[Actions] = []
    seen, mood_U = ImpressionCounts(world.items), np.zeros(world.users, dtype=np.float32)
    for day in range(-past, days):
        if day >= 0:
            user_B = world.visitors(day, mood_U)
            item_BS = popularity_lists(world, day, user_B, known_I, slots)
            appeal_BS = world.appeal(day, user_B, item_BS)
            action_BS = world.draw_reactions(day, user_B, item_BS, appeal_BS, seen.counts(user_B, item_BS))
            seen.add(user_B, item_BS)
            mood_U = world.update_mood(mood_U, user_B, action_BS)
            parts.append(_feed_saves(user_B, item_BS, action_BS, world.visit_times(day, user_B)))
        parts.append(world.organic_actions(day))
        known_I = known_I + sum(
            np.bincount(part.item_E, minlength=world.items) for part in parts[-2 if day >= 0 else -1 :]
        )
    columns = [np.concatenate([part[column] for part in parts]) for column in range(3)]
    return pl.DataFrame(dict(zip(("user_id", "item_id", "timestamp"), columns, strict=True))).sort("timestamp")


def blank_repeats(item_BS: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return lists in which an item that stands above already is -1."""
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
