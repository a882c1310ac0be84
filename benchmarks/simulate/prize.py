"""The possible gain: saves with lists that know users' tastes, and with follows, in the world and its controls."""

from collections.abc import Callable
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from benchmarks import SEED
from benchmarks.simulate import oracles
from benchmarks.timing import round_figure
from multitudes_lab.simulation import constants
from multitudes_lab.simulation.world import World
from multitudes_lab.simulation.world_config import CONTROLS, WorldConfig

DAYS = 7


class Sizes(NamedTuple):
    """The size of the worlds."""

    users: int
    items: int


FULL = Sizes(20_000, 10_000)
QUICK = Sizes(500, 600)


def measure(sizes: Sizes) -> dict[str, Any]:
    """Return saves per list, by world and by list."""
    worlds: dict[str, dict[str, Any]] = {"the world": {}} | CONTROLS
    return {"settings": sizes._asdict() | {"days": DAYS}} | {
        "worlds": {name: _saves(sizes._asdict() | changed) for name, changed in worlds.items()}
    }


def _saves(settings: dict[str, Any]) -> dict[str, float]:
    world = World(WorldConfig(seed=SEED, **settings))
    with patch.object(constants, "FOLLOWS", 0.0):
        unfollowed = World(WorldConfig(seed=SEED, **settings))
    lists: dict[str, Callable[[int], Any]] = {
        "popular": lambda day: oracles.popular(unfollowed, day),
        "popular and followed": lambda day: oracles.popular(world, day),
        "the favourite taste": lambda day: oracles.items_of(world, oracles.head(world, day), day),
        "all tastes": lambda day: oracles.items_of(world, oracles.several(world, day), day),
        "a third of any niche": lambda day: oracles.items_of(world, oracles.stray(world, day), day),
    }
    return {
        name: round_figure(float(np.mean([oracles.saves(world, day, of(day)) for day in range(DAYS)])) / world.users)
        for name, of in lists.items()
    }
