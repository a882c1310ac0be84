"""Prepared planted worlds for the tests of several packages, made once per test run."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import polars as pl

from multitudes.cli.main import run as command
from multitudes.data.planted import PlantedConfig, PlantedWorld, plant, write_world
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData

# The model of tests that need some release: towers of one structure are traced once (see ``shared_exports``).
SMALL_MODEL: dict[str, Any] = {"width": 16, "history": 10, "interests": 3, "crossing": {"hidden": 16}}

# The same as a file, with a training that takes a second; a test may append tables.
SMALL_TOML = """
[model]
width = 16
history = 10
interests = 3
crossing.hidden = 16
[train]
epochs = 1
batch_size = 32
in_batch = 32
uniform = 32
validate_users = 20
"""

SMALL_WORLD: dict[str, int | float] = {"users": 120, "items": 150, "events": 4000, "niches": 12, "topics": 6}


@cache
def planted(**settings: int | float) -> tuple[PlantedWorld, PreparedData]:
    """Return a planted world and its prepared form, split by user."""
    folder = Path(mkdtemp(prefix="multitudes-test-"))
    world = plant(PlantedConfig.model_validate(SMALL_WORLD | settings))
    write_world(world, folder / "data")
    return world, prepare(folder / "data", folder / "prepared", PrepareConfig(split="user"))


class PlantedDays(NamedTuple):
    """A planted world in two prepared folders: its earlier days, and all of them, the later ones appended."""

    events: pl.DataFrame  # of all days, by time
    early: PreparedData  # lacks some items
    every: PreparedData

    def history(self, user: int) -> list[int]:
        """Return the known items of a user's events but hides, by their newest, as the tables have them."""
        is_own = (pl.col("user_id") == self.every.user_ids[user]) & (pl.col("action") != "hide")
        newest = self.events.filter(is_own)["item_id"].to_list()
        number = {item: i for i, item in enumerate(self.every.items["item_id"], start=1)}
        return [number[item] for item in reversed(dict.fromkeys(reversed(newest))) if item in number]


@cache
def planted_days() -> PlantedDays:
    """Return a planted world that was prepared in two runs of the command, the second with ``--append``."""
    folder = Path(mkdtemp(prefix="multitudes-test-"))
    world = plant(PlantedConfig.model_validate(SMALL_WORLD))
    for name in ("early", "late"):
        write_world(world, folder / name)
    events = pl.read_parquet(folder / "late" / "events.parquet").sort("timestamp", maintain_order=True)
    is_late = pl.col("timestamp") > events["timestamp"].quantile(0.8)
    is_early = ~is_late & (pl.col("item_id") % 20 != 0)
    events.filter(is_early).write_parquet(folder / "early" / "events.parquet")
    events.filter(is_late).write_parquet(folder / "late" / "events.parquet")
    prepared = [str(folder / name) for name in ("prepared-early", "prepared-every")]
    for name, out, more in (("early", prepared[0], ["--appendable"]), ("late", prepared[1], ["--append", prepared[0]])):
        assert command(["prepare", str(folder / name), "--out", out, "--split", "user", *more]) == 0
    return PlantedDays(events.filter(is_early | is_late), *map(PreparedData.open, prepared))
