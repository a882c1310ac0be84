"""A release to be served: drawn vectors, many users and items, and the tower made by hand of the tests' release.

Everything is a function of the seed, so two seeds are two releases of the same users and items that answer differently.
Legend: U users · I items · T topics · D width · L history.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import polars as pl
from tests.release.small_release import LENGTH, manifest, user_tower

from multitudes.data.own_items import group_events
from multitudes.index.exact import ExactIndex
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Topics
from multitudes.index.tastes import NO_TASTE
from multitudes.release.release import USER_TOWER, write_release
from multitudes.release.store import ReleaseStore
from multitudes.seeding import generator


class World(NamedTuple):
    """How large it is. User ids are 1 … users, item ids 1,000,001 … ."""

    users: int = 2_000
    items: int = 20_000
    topics: int = 20
    width: int = 64

    def event(self, number: int) -> dict[str, str | int]:
        """Return an event, of one user after another."""
        user, item = 1 + number % self.users, FIRST_ITEM + number % self.items
        return {"event_id": str(number), "user_id": user, "item_id": item}


FIRST_ITEM = 1_000_001


def publish_world(root: Path, seed: int = 0, world: World | None = None) -> str:
    """Publish a release of the world and return its version."""
    world = world or World()
    store = ReleaseStore(root)
    with store.stage() as stage:
        _write(stage, seed, world)
        return store.commit(stage)


def _write(stage: Path, seed: int, world: World) -> None:
    draw = generator(seed, "reliability", "world")
    vectors_ID = draw.standard_normal((world.items, world.width), dtype=np.float32)
    vectors_ID /= np.linalg.norm(vectors_ID, axis=1, keepdims=True)
    topic_I = 1 + np.arange(world.items) % world.topics
    topics = Topics(np.arange(world.items + 1), topic_I)
    centres_TD = np.stack([np.zeros(world.width), *(vectors_ID[topic_I == t].mean(0) for t in _topics(world))])
    history_UL = 1 + draw.integers(0, world.items, (world.users, LENGTH))
    offset_U = LENGTH * np.arange(world.users + 1)
    own = group_events(np.repeat(np.arange(world.users), LENGTH), history_UL.ravel(), world.users)
    arrays = {
        "item_input": np.concatenate([np.zeros((1, world.width)), 3 * vectors_ID]),
        "item_topic_offset": np.concatenate([[0], topics.offset]),
        "item_topic": topic_I,
        "item_count": np.concatenate([[0], draw.integers(1, 100, world.items)]),
        "item_usable": np.arange(world.items + 1) > 0,
        "item_taste": np.concatenate([[NO_TASTE], topic_I - 1]),  # the taste of an item is its topic
        "taste_centre": centres_TD[1:],
        "event_offset": offset_U,
        "event_item": history_UL.ravel(),
        "event_time": np.tile(86_400 * np.arange(1, LENGTH + 1), world.users),
        "event_action": np.ones(history_UL.size),
        "event_valid": np.ones(history_UL.size),
        "seen_offset": offset_U,
        "seen_item": np.sort(history_UL, axis=1).ravel(),
        "follow_offset": np.arange(world.users + 1),
        "follow_topic": 1 + np.arange(world.users) % world.topics,
        "user_feature": np.zeros((world.users, 0)),
        **dict(zip(("own_offset", "own_item", "own_count", "own_newest", "own_oldest"), own, strict=True)),
    }
    onnx.save(user_tower(world.width, (10 * centres_TD).astype(np.float32)), str(stage / USER_TOWER))
    counts = {"users": world.users, "items": world.items, "topics": world.topics}
    write_release(
        stage,
        manifest(counts=counts, new_items={"vectors": "run"}),
        arrays,
        LiveIndex(ExactIndex.build(np.arange(1, world.items + 1), vectors_ID, topics)),
        pl.Series(range(1, world.users + 1)),
        pl.DataFrame({"item_id": range(FIRST_ITEM, FIRST_ITEM + world.items)}).with_columns(
            title=pl.format("Item {}", "item_id")
        ),
        ["", *(f"Topic {t}" for t in _topics(world))],
    )


def _topics(world: World) -> range:
    return range(1, world.topics + 1)
