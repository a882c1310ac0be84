"""The marginals of the world, after the calibration feed, and of public data sets."""

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from benchmarks import SEED
from benchmarks.simulate.calibration import marginals
from benchmarks.simulate.simple_feed import simulate_feed
from benchmarks.timing import round_figure
from multitudes.data.sample import SAMPLES, sample_path
from multitudes_lab.simulation.world import World
from multitudes_lab.simulation.world_config import WorldConfig

WORLD = "world"


class Sizes(NamedTuple):
    """The size of a world, and the days that are simulated."""

    users: int
    items: int
    past: int = 30  # days
    days: int = 14
    slots: int = 30


FULL = Sizes(*(WorldConfig.model_fields[name].default for name in ("users", "items")))
QUICK = Sizes(500, 600, past=10, days=2)


def measure(sizes: Sizes, data: Path | None) -> dict[str, Any]:
    """Return the marginals by name of the set; the world's is ``WORLD``."""
    folders = {name: sample_path(name) for name in SAMPLES}
    if data is not None:
        folders |= {file.parent.name: file.parent for file in sorted(data.glob("*/events.parquet"))}
    return {
        "settings": sizes._asdict(),
        "sets": {WORLD: round_numbers(_world(sizes))}
        | {name: round_numbers(_public(folder)) for name, folder in sorted(folders.items())},
    }


def round_numbers(found: Any) -> Any:  # noqa: ANN401 (JSON of any shape)
    """Return a JSON value with numbers rounded to four digits."""
    if isinstance(found, dict):
        return {name: round_numbers(value) for name, value in found.items()}
    if isinstance(found, list):
        return [round_numbers(value) for value in found]
    return round_figure(found) if isinstance(found, float) else found


def _world(sizes: Sizes) -> dict[str, Any]:
    world = World(WorldConfig(seed=SEED, users=sizes.users, items=sizes.items))
    return marginals(simulate_feed(world, sizes.past, sizes.days, sizes.slots), world.items_table(sizes.days))


def _public(folder: Path) -> dict[str, Any]:
    return marginals(*(pl.read_parquet(folder / f"{table}.parquet") for table in ("events", "items")))
