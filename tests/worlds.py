"""Prepared planted worlds for the tests of several packages, made once per test run."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from multitudes.data.planted import PlantedConfig, PlantedWorld, plant, write_world
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData

# The model of tests that need some release: towers of one structure are traced once (see ``shared_exports``).
SMALL_MODEL: dict[str, Any] = {"width": 16, "history": 10, "interests": 3, "crossing": {"hidden": 16}}


@cache
def planted(**settings: int | float) -> tuple[PlantedWorld, PreparedData]:
    """Return a planted world and its prepared form, split by user."""
    folder = Path(mkdtemp(prefix="multitudes-test-"))
    small: dict[str, int | float] = {"users": 120, "items": 150, "events": 4000, "niches": 12, "topics": 6}
    world = plant(PlantedConfig.model_validate(small | settings))
    write_world(world, folder / "data")
    return world, prepare(folder / "data", folder / "prepared", PrepareConfig(split="user"))
