"""Lists of an oracle that knows users' tastes: the best of one interest, of all interests, and of follows.

Legend: U users · S places.
"""

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulate.simple_feed import blank_repeats, popularity_lists
from multitudes_lab.simulation import draws
from multitudes_lab.simulation.world import SAVE, World

Niches = NDArray[np.int64]
PLACES = 30


def head(world: World, day: int) -> Niches:
    """Return for each place the favourite niche of each user (U, S)."""
    niche_UK, weight_UK = world.tastes(day)
    best_U1 = np.take_along_axis(niche_UK, weight_UK.argmax(axis=1)[:, None], axis=1)
    return np.repeat(best_U1.astype(np.int64), PLACES, axis=1)


def several(world: World, day: int) -> Niches:
    """Return for each place a niche that the user likes, drawn by weight (U, S)."""
    niche_UK, weight_UK = world.tastes(day)
    which_US = (_draw(world, "oracle taste", day)[:, :, None] > np.cumsum(weight_UK, axis=1)[:, None, :-1]).sum(axis=2)
    return np.take_along_axis(niche_UK.astype(np.int64), which_US, axis=1)


def stray(world: World, day: int) -> Niches:
    """Return the favourite niche of each user, and a random niche in every third place (U, S)."""
    niche_US = head(world, day)
    anywhere_US = (_draw(world, "oracle stray", day) * world.config.niches).astype(np.int64)
    niche_US[:, 2::3] = anywhere_US[:, 2::3]
    return niche_US


def items_of(world: World, niche_US: Niches, day: int) -> NDArray[np.int64]:
    """Return an item of each niche, by popularity; the second occurrence of an item leaves its place empty."""
    draw_US = _draw(world, "oracle item", day)
    return blank_repeats(
        world.catalogue.niche_index.draw_items(day, niche_US.ravel(), draw_US.ravel()).reshape(niche_US.shape)
    )


def popular(world: World, day: int) -> NDArray[np.int64]:
    """Return popular items, every other one of a topic that the user follows, if any (U, S)."""
    known_I = np.bincount(world.organic_actions(day - 1).item_E, minlength=world.items)
    return popularity_lists(world, day, np.arange(world.users), known_I, PLACES)


def saves(world: World, day: int, item_US: NDArray[np.int64]) -> int:
    """Return the number of saves if every user visits and sees the list."""
    user_U = np.arange(world.users)
    appeal_US = world.appeal(day, user_U, item_US)
    return int((world.draw_reactions(day, user_U, item_US, appeal_US, np.zeros_like(item_US)) == SAVE).sum())


def _draw(world: World, name: str, day: int) -> NDArray[np.float64]:
    return draws.uniform(world.config.seed, name, day, np.arange(world.users)[:, None], np.arange(PLACES))
