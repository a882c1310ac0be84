"""Properties of the world, each beside a control without it."""

import numpy as np
import pytest
from benchmarks.simulate.simple_feed import simulate_feed

from multitudes.data.planted import START_S
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.schemas import first_wrong_column
from multitudes.data.timestamps import DAY_S
from multitudes_lab.simulation.world import World
from multitudes_lab.simulation.world_config import WorldConfig
from tests.lab.simulation.worlds import fixed

SMALL = WorldConfig(users=400, items=600, topics=10, niches=30)


def test_the_same_configuration_is_the_same_world_and_batches_do_not_matter():
    one, other = World(SMALL), World(SMALL)
    everybody, items = np.arange(400), np.arange(400 * 20).reshape(400, 20) % 600
    appeal = one.appeal(3, everybody, items)
    action = one.draw_reactions(3, everybody, items, appeal, np.zeros_like(items))
    half = everybody[::-2]
    np.testing.assert_array_equal(other.appeal(3, half, items[half]), appeal[half])
    assert (other.draw_reactions(3, half, items[half], appeal[half], np.zeros_like(items[half])) == action[half]).all()
    for given, again in zip(one.organic_actions(3), other.organic_actions(3), strict=True):
        np.testing.assert_array_equal(given, again)
    assert one.items_table(3).equals(other.items_table(3))
    assert one.users_table().equals(other.users_table())
    assert not World(SMALL.model_copy(update={"seed": 1})).users_table().equals(one.users_table())


def test_its_tables_are_canonical_and_can_be_prepared(tmp_path):
    with fixed(FEATURELESS_SHARE=0.1):
        world = World(SMALL)
    items, users = world.items_table(10), world.users_table()
    assert (items["topics"].list.len() == 0).mean() == pytest.approx(0.1, abs=0.04)
    events = simulate_feed(world, past=30, days=2).join(items.select("item_id"), on="item_id", how="semi")
    for name, table in (("items", items), ("users", users), ("events", events)):
        assert first_wrong_column(name, table.schema) is None
        table.write_parquet(tmp_path / f"{name}.parquet")
    prepared = prepare(tmp_path, tmp_path / "prepared", PrepareConfig(split="user", min_item_count=0))
    assert len(prepared.event_offset) - 1 == world.users  # those without an event too
    assert len(prepared.event_item) == len(events)


def test_sessions_are_within_their_day_and_mostly_in_the_evening():
    world = World(SMALL)
    second = world.visit_times(5, np.arange(400)) - START_S - 5 * DAY_S
    assert ((second >= 0) & (second < DAY_S)).all()
    assert (second > DAY_S / 2).mean() > 0.6
    assert (second != world.visit_times(6, np.arange(400)) - START_S - 6 * DAY_S).mean() > 0.9
