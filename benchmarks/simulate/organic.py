"""``python -m benchmarks.simulate.organic FOLDER``: what users of the simulated world save without any feed, as tables.

Followed topics are stated there, apart from the events, and no list that somebody chose has influenced them. So
``prepare``, ``train`` and ``evaluate`` show on them when each kind of vector pays (records/segments.md).
"""

import argparse
from pathlib import Path

from benchmarks import SEED
from multitudes_lab.simulation.retraining import write_tables
from multitudes_lab.simulation.world import World
from multitudes_lab.simulation.world_config import CONTROLS, WorldConfig


def main() -> None:
    """Write the canonical tables of a world."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder to write: events, items and users")
    parser.add_argument("--users", type=int, default=60_000)
    parser.add_argument("--items", type=int, default=160_000)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--control", choices=CONTROLS, help="a world without a reason for several vectors")
    given = parser.parse_args()
    changed = CONTROLS[given.control] if given.control else {}
    world = World(WorldConfig(seed=SEED, users=given.users, items=given.items, **changed))
    write_tables(world, 0, given.days, given.folder)


if __name__ == "__main__":
    main()
