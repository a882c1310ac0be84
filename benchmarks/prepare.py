"""Preparing tables: rows per second and peak memory, and the same for planting the world."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import SEED
from benchmarks.child_process import ChildResult, run_in_child
from benchmarks.timing import Readings, rates, round_figure, settings, spread, wall_and_cpu
from multitudes.data.planted import PlantedConfig, plant, write_world
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.progress import Progress


class Sizes(NamedTuple):
    """Events of each world, and how often each is prepared."""

    events: tuple[int, ...]
    repeats: tuple[int, ...]


FULL = Sizes(events=(1_000_000, 10_000_000), repeats=(3, 1))
QUICK = Sizes(events=(20_000,), repeats=(2,))


def measure(sizes: Sizes, folder: Path, progress: Progress) -> dict[str, Any]:
    """Return figures for each number of events; every call runs in its own process."""
    measured = []
    for place, (events, repeats) in enumerate(zip(sizes.events, sizes.repeats, strict=True)):
        progress(place, len(sizes.events), f"{events:,} events")
        data, out = folder / f"data-{events}", folder / "prepared"
        planted = run_in_child(plant_world, events=events, folder=str(data))
        prepared = [run_in_child(prepare_world, data=str(data), out=str(out)) for _ in range(repeats)]
        measured.append(
            {
                "events": events,
                "users": _world(events).users,
                "items": _world(events).items,
                "plant": _figures(events, [planted]),
                "prepare": _figures(events, prepared),
                "prepared_mib": round_figure(prepared[0].value),
            }
        )
        shutil.rmtree(data)
    return {"settings": settings(sizes) | {"memory_limit": PrepareConfig().memory_limit}, "worlds": measured}


def _world(events: int) -> PlantedConfig:
    return PlantedConfig(
        users=events // 100, items=max(events // 100, 200), events=events, niches=100, topics=50, seed=SEED
    )


def _figures(events: int, outcomes: list[ChildResult]) -> dict[str, Any]:
    readings = Readings([outcome.seconds for outcome in outcomes], [outcome.cpu_s for outcome in outcomes])
    return {
        "rows_per_s": rates(readings, events),
        "seconds": wall_and_cpu(readings),
        "peak_mib": spread([outcome.peak_mib for outcome in outcomes]),
    }


def plant_world(events: int, folder: str) -> None:
    """Plant a world and write its tables."""
    write_world(plant(_world(events)), Path(folder))


def prepare_world(data: str, out: str) -> float:
    """Prepare tables by the defaults; return the size of the result in MiB."""
    prepare(Path(data), Path(out), overwrite=True)
    return sum(file.stat().st_size for file in Path(out).rglob("*") if file.is_file()) / 2**20
