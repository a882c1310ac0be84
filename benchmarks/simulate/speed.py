"""Speed of a world without a model: impressions per second, and users × days per second, on one core."""

from typing import Any, NamedTuple

import numpy as np

from benchmarks import SEED
from benchmarks.child_process import run_in_child
from benchmarks.timing import cpu_clock, spread
from multitudes_lab.simulation.world import World
from multitudes_lab.simulation.world_config import WorldConfig


class Sizes(NamedTuple):
    """The size of a world, and the days that are simulated."""

    users: int
    items: int
    days: int
    slots: int = 30


FULL = Sizes(100_000, 50_000, days=30)
QUICK = Sizes(500, 600, days=2)


def measure(sizes: Sizes) -> dict[str, Any]:
    """Return time and memory of the world, in a separate process."""
    outcome = run_in_child(live, threads=1, **sizes._asdict())
    return {"settings": sizes._asdict(), "peak_mib": round(outcome.peak_mib)} | dict(outcome.value)


def live(users: int, items: int, days: int, slots: int) -> dict[str, Any]:
    """Simulate a world with random lists; return its processor seconds."""
    began = cpu_clock()
    world = World(WorldConfig(seed=SEED, users=users, items=items))
    made_s = cpu_clock() - began
    chance = np.random.default_rng(SEED)
    mood_U = np.zeros(users, dtype=np.float32)
    shown_s: list[float] = []
    other_s: list[float] = []
    impressions: list[int] = []
    for day in range(days):
        began = cpu_clock()
        user_B = world.visitors(day, mood_U)
        began, other = cpu_clock(), cpu_clock() - began
        item_BS = chance.integers(items, size=(len(user_B), slots))
        seen_BS = np.zeros_like(item_BS)
        began = cpu_clock()
        action_BS = world.draw_reactions(day, user_B, item_BS, world.appeal(day, user_B, item_BS), seen_BS)
        began, shown = cpu_clock(), cpu_clock() - began
        mood_U = world.update_mood(mood_U, user_B, action_BS)
        world.visit_times(day, user_B)
        world.organic_actions(day)
        shown_s.append(shown)
        other_s.append(other + cpu_clock() - began)
        impressions.append(item_BS.size)
    return {
        "made_s": round(made_s, 2),
        "impressions": sum(impressions),
        "impressions_per_s": spread([n / s for n, s in zip(impressions, shown_s, strict=True)]),
        "user_days_per_s": spread([users / (a + b) for a, b in zip(shown_s, other_s, strict=True)]),
        "all_days_s": round(sum(shown_s) + sum(other_s), 2),
    }
