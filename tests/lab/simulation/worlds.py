"""The small world of these tests, and variants of it."""

from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from multitudes_lab.simulation import constants
from multitudes_lab.simulation.world import World
from multitudes_lab.simulation.world_config import WorldConfig

SMALL = WorldConfig(users=4_000, items=2_000, topics=20, niches=60, tastes=4)


def small(**changed: Any) -> World:
    return World(WorldConfig(**(SMALL.model_dump() | changed)))


def fixed(**numbers: Any) -> Any:
    """Return a context, or decorator, in which constants of the simulation have other values."""
    return mock.patch.multiple(constants, **numbers)


def everybody(world: World) -> NDArray[np.int64]:
    return np.arange(world.users)


def some_items(world: World, places: int) -> NDArray[np.int64]:
    """Return distinct items for each user (U, places)."""
    start = np.arange(world.users)[:, None] * 37
    return (start + np.arange(places) * 7) % world.items


def react(world: World, item_US: NDArray[np.int64], appeal: float = -1.0, seen: int = 0, day: int = 3) -> Any:
    """Return the reactions of all users to items of equal appeal, shown ``seen`` times before."""
    appeal_US = np.full(item_US.shape, appeal, dtype=np.float32)
    return world.draw_reactions(day, everybody(world), item_US, appeal_US, np.full(item_US.shape, seen))


def organic(world: World, first: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return users and items of the organic saves from day ``first`` to ``end``."""
    days = [world.organic_actions(day) for day in range(first, end)]
    return np.concatenate([d.user_E for d in days]), np.concatenate([d.item_E for d in days])
