"""``python -m benchmarks.simulate.sardine``: does an independent simulator show the same behaviour?

SARDINE (Deffayet et al. 2024) shares no code and no assumption with the world: topics are vectors, clicks are
Bernoulli, boredom is of topics. Known behaviour should come out of both: users interact less with lower places, more
with a list in the order of their wants, and less with repeated lists. Needs sardine-rec: see ``make bench-sardine``.

Legend: U users · S places · T lists, one after the other.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import sardine  # noqa: F401 (registers its worlds)
from numpy.typing import NDArray

from benchmarks import SEED
from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.simulate import oracles
from benchmarks.timing import round_figure
from multitudes.atomic import write_json
from multitudes.seeding import generator
from multitudes_lab.simulation.actions import CLICK, SAVE
from multitudes_lab.simulation.history import ImpressionCounts
from multitudes_lab.simulation.world import World
from multitudes_lab.simulation.world_config import WorldConfig

RESULTS = ROOT / "benchmarks" / "results" / "sardine.json"
PLACES, LISTS = 10, 10
ORDERS = ("most wanted first", "by chance", "least wanted first")
_WANTED, _UNWANTED = -1, -2  # placeholders: the item that the user wants most, or least
Clicks = NDArray[np.bool_]


def positions(users: int) -> dict[str, list[float]]:
    """Return the interactions in each place of random lists, relative to the first place, at equal depth."""
    stream = generator(SEED, "positions")
    theirs = _sardine("SlateTopK-Uncertain", users, LISTS, lambda: stream.integers(1_000, size=PLACES))
    world = _world(20 * users, look=0.85)
    item_US = stream.integers(world.items, size=(world.users, PLACES))
    ours = [_count_reactions(world, day, item_US, np.zeros_like(item_US)) for day in range(LISTS)]
    return {
        name: [round_figure(float(share)) for share in rate_S / rate_S[0]]
        for name, rate_S in (("SARDINE", theirs.mean(axis=(0, 1))), ("the world", np.mean(ours, axis=(0, 1))))
    }


def orders(users: int) -> dict[str, dict[str, float]]:
    """Return the interactions with a list of ten by its order, relative to a random order."""
    stream = generator(SEED, "orders")
    shown: list[Callable[[], Any]] = [
        lambda: np.full(PLACES, _WANTED),
        lambda: stream.permutation(PLACES),
        lambda: np.full(PLACES, _UNWANTED),
    ]
    theirs = [float(_sardine("SlateRerank-Static", users, LISTS, one).mean()) for one in shown]
    world = _world(20 * users, look=0.7)
    item_US = stream.integers(world.items, size=(world.users, PLACES))
    item_US[:, 5:] = oracles.items_of(world, oracles.head(world, 0), 0)[:, :5]
    appeal_US = world.appeal(0, np.arange(world.users), item_US)
    keys = (-appeal_US, stream.random(item_US.shape), appeal_US)
    lists = [np.take_along_axis(item_US, np.argsort(key, axis=1), axis=1) for key in keys]
    ours = [float(_count_reactions(world, 0, one, np.zeros_like(one)).mean()) for one in lists]
    return {
        name: {order: round_figure(rate / rates[1]) for order, rate in zip(ORDERS, rates, strict=True)}
        for name, rates in (("SARDINE", theirs), ("the world", ours))
    }


def repeats(users: int) -> dict[str, list[float]]:
    """Return the interactions with each of ten repeated lists of the most wanted items, relative to the first."""
    theirs = _sardine("SlateTopK-Bored", users, LISTS, lambda: np.full(PLACES, _WANTED)).mean(axis=(0, 2))
    world = _world(20 * users, look=0.85)
    item_US = oracles.items_of(world, oracles.head(world, 0), 0)[:, :PLACES]
    seen, user_U, ours = ImpressionCounts(world.items), np.arange(world.users), []
    for day in range(LISTS):
        ours.append(float(_count_reactions(world, day, item_US, seen.counts(user_U, item_US)).mean()))
        seen.add(user_U, item_US)
    return {
        name: [round_figure(float(rate / rates[0])) for rate in rates]
        for name, rates in (("SARDINE", theirs), ("the world", ours))
    }


def _sardine(name: str, users: int, lists: int, shown: Callable[[], NDArray[np.int64]]) -> Clicks:
    """Return the clicks (U, T, S) of users of a SARDINE world who are shown ``lists`` lists."""
    world = gymnasium.make(f"sardine/{name}-v0").unwrapped
    clicks_UTS = np.zeros((users, lists, world.slate_size), dtype=np.bool_)
    for user in range(users):
        world.reset(seed=SEED + user)
        for t in range(lists):
            clicks_UTS[user, t] = world.step(shown())[0]["clicks"]
    return clicks_UTS


def _world(users: int, look: float) -> World:
    """Return a world in which a share ``look`` of the users who examine a place examine the next."""
    return World(WorldConfig(seed=SEED, users=users, items=5_000, depth=1 / (1 - look)))


def _count_reactions(world: World, day: int, item_US: NDArray[np.int64], seen_US: NDArray[np.int64]) -> Clicks:
    """Return what all users save or click (U, S) in the lists of a day."""
    user_U = np.arange(world.users)
    action_US = world.draw_reactions(day, user_U, item_US, world.appeal(day, user_U, item_US), seen_US)
    touched_US: Clicks = (action_US == SAVE) | (action_US == CLICK)
    return touched_US


def main() -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate.sardine", description=__doc__)
    parser.add_argument("--users", type=int, default=1_000, help="of SARDINE; the world has twenty times as many")
    parser.add_argument("--out", type=Path, default=RESULTS, help="record to write; default: %(default)s")
    given = parser.parse_args()
    here = MeasurementContext()
    found = {"positions": positions(given.users), "orders": orders(given.users), "repeats": repeats(given.users)}
    settings = {"users": given.users, "seeds": [SEED]}
    write_json(given.out, settings | here.head(("numpy", "sardine-rec", "gymnasium")) | {"figures": found})


if __name__ == "__main__":
    main()
