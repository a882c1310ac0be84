"""Properties of the world, each beside a control without it."""

import numpy as np
import pytest
import xxhash
from benchmarks.simulate.simple_feed import simulate_feed

from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.schemas import first_wrong_column
from multitudes_lab.simulation.world import World
from multitudes_lab.simulation.world_config import CONTROLS, WorldConfig
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


def fingerprint(world: World) -> str:
    """Return a digest of what a world decides, which is discrete: rounding of the last digit hardly ever moves it."""
    everybody, items = np.arange(400), np.arange(400 * 20).reshape(400, 20) % 600
    action = world.draw_reactions(3, everybody, items, world.appeal(3, everybody, items), items % 3)
    visitors = world.visitors(3, np.linspace(-1, 1, 400, dtype=np.float32))
    catalogue, tastes = world.catalogue, world.tastes(3)[0]
    described = catalogue.niche_I, catalogue.topic_I, catalogue.second_topic_I, catalogue.created_I, world.cohort_U
    follows = world.followed_offset, world.followed_topic, world.followed_kind
    digest = xxhash.xxh3_64()
    for array in (*described, *follows, tastes, visitors, action, *world.organic_actions(3)):
        digest.update(np.ascontiguousarray(array, dtype=np.int64).data)
    return digest.hexdigest()


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ({}, "a74a460b4bbbd5d3"),
        (CONTROLS["overlapping tastes"], "63882a8284102b81"),
        (CONTROLS["other topics"], "941be996a43edd65"),
    ],
)
def test_no_draw_has_changed_since_experiments_were_recorded(control, expected):
    """An experiment that goes on after an update, and one that is compared with earlier ones, need the same world."""
    assert fingerprint(World(SMALL.model_copy(update=control))) == expected


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
