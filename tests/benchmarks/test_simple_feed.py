"""The feed of the calibration: popular items and those of followed topics, none twice, learned from nobody."""

import numpy as np
from benchmarks.simulate.calibration import gini
from benchmarks.simulate.simple_feed import popularity_lists, simulate_feed

from multitudes_lab.simulation.history import ImpressionCounts
from multitudes_lab.simulation.world import World
from multitudes_lab.simulation.world_config import WorldConfig
from tests.lab.simulation.worlds import everybody, fixed, organic, small


def test_a_list_has_popular_items_and_some_of_followed_topics_and_none_twice():
    world = small()
    known = np.zeros(world.items, dtype=np.int64)
    known[:20] = 10_000
    shown = popularity_lists(world, 0, everybody(world), known, 30)
    assert shown.shape == (world.users, 30)
    assert (world.created_I[shown[shown >= 0]] <= 0).all()
    for row in shown[:200]:
        kept = row[row >= 0].tolist()
        assert len(set(kept)) == len(kept)
    follows = np.diff(world.followed_offset)
    popular = (shown >= 0) & (shown < 20)
    assert (popular | (shown < 0))[:, ::2].mean() > 0.95
    explicit = shown[follows > 0][:, 1::2]
    user = np.flatnonzero(follows > 0)[:, None] + np.zeros_like(explicit)
    pairs = set(zip(np.repeat(everybody(world), follows).tolist(), world.followed_topic.tolist(), strict=True))
    there = explicit >= 0
    assert all(
        (u, world.topic_I[i]) in pairs for u, i in zip(user[there].tolist(), explicit[there].tolist(), strict=True)
    )


def test_nobody_needs_to_follow_anything():
    with fixed(FOLLOWS=0.0):
        world = small(users=50)
    assert (popularity_lists(world, 0, everybody(world), np.ones(world.items, dtype=np.int64), 10) >= 0).any()


def test_it_leaves_the_mood_as_it_is():
    """As the description of ``mood_saves`` says: 0 is the mood of a feed that learns nothing."""
    world = World(WorldConfig(users=10_000))
    mood = np.zeros(world.users, dtype=np.float32)
    known = np.bincount(organic(world, -30, 0)[1], minlength=world.items)
    for day in range(7):
        visitors = world.visitors(day, mood)
        items = popularity_lists(world, day, visitors, known, 30)
        appeal = world.appeal(day, visitors, items)
        mood = world.update_mood(
            mood, visitors, world.draw_reactions(day, visitors, items, appeal, np.zeros_like(items))
        )
    assert abs(mood[visitors].mean()) < 0.03
    assert mood[visitors].std() > 0.03  # but not for each


def test_what_was_shown_is_counted():
    seen = ImpressionCounts(items=10)
    user, items = np.array([0, 3]), np.array([[1, 2, -1], [1, 9, 9]])
    assert not seen.counts(user, items).any()
    seen.add(user, items)
    seen.add(user[1:], items[1:])
    assert seen.counts(user, items).tolist() == [[1, 1, 0], [2, 4, 4]]
    assert seen.counts(np.array([1]), items[:1]).tolist() == [[0, 0, 0]]


def test_a_run_is_a_function_of_the_world_and_the_feed_adds_to_the_past():
    world = small(users=600)
    events = simulate_feed(world, past=10, days=3)
    assert events.equals(simulate_feed(world, past=10, days=3))
    assert events["timestamp"].is_sorted()
    alone = simulate_feed(world, past=13, days=0)
    assert len(events) != len(alone)
    assert 0 < gini(np.bincount(events["item_id"])) < 1
