"""The data at the end of each day: all events until then; the last day is the test split."""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks import SEED
from multitudes.data.planted import PlantedConfig, PlantedWorld, plant, write_world
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData
from multitudes.seeding import generator

WORLD = PlantedConfig(users=800, items=1_000, events=64_000, niches=60, topics=20, days=98)
MOVED_SHARE = 0.15  # share of the items that move each day


def prepare_days(source: Path, work: Path, number: int, length_s: int, users: int = 0) -> list[PreparedData]:
    """Return the data at the end of each day and before the first; the last day of each is its test.

    Args:
        source: the canonical tables.
        work: folder to write; what is there already is kept.
        number: of days that are asked for; before them there is one, on which the first run is made.
        length_s: of a day.
        users: so many, drawn at random; 0: all.
    """
    events = pl.read_parquet(source / "events.parquet").sort("timestamp", maintain_order=True)
    if users:
        some = generator(SEED, "users").permutation(events["user_id"].unique().sort().to_numpy())[:users]
        events = events.filter(pl.col("user_id").is_in(some.tolist()))
    last = int(events["timestamp"].max())  # type: ignore[arg-type]
    made = []
    for day in range(number + 1):
        folder, until = work / f"day-{day}", last - length_s * (number - day)
        if not (folder / "prepared" / "manifest.json").exists():
            (folder / "data").mkdir(parents=True, exist_ok=True)
            for name in ("items", "users"):
                (folder / "data" / f"{name}.parquet").write_bytes((source / f"{name}.parquet").read_bytes())
            known = events.filter(pl.col("timestamp") <= until)
            known.write_parquet(folder / "data" / "events.parquet")
            share = known.filter(pl.col("timestamp") > until - length_s).height / known.height
            prepare(folder / "data", folder / "prepared", PrepareConfig(test_share=share))
        made.append(PreparedData.open(folder / "prepared"))
    return made


def write_planted_world(folder: Path, number: int, length_s: int, *, moves: bool) -> Path:
    """Write a world in which each day some items move to another niche of their topic, or, the control, none does.

    What people like stays, and so do topics; what is liked by the same people changes. That is in the weights alone:
    a taste that changes is already visible in the history, which is read at request time.
    """
    world = plant(WORLD)
    write_world(world, folder)
    if moves:
        file = folder / "events.parquet"
        events = pl.read_parquet(file)
        moved = _move_items(world, events["item_id"].to_numpy(), events["timestamp"].to_numpy(), number, length_s)
        events.with_columns(item_id=pl.Series(moved)).write_parquet(file)
    return folder


def _move_items(
    world: PlantedWorld, item_E: NDArray[np.int64], time_E: NDArray[np.int64], number: int, length_s: int
) -> NDArray[np.int64]:
    """Return the items of the events where, from day to day, further pairs of items have changed places."""
    first, second = _pairs(world)
    day_E = number - (time_E.max() - time_E) // length_s  # the first of those that are asked for is 1
    upto = np.ceil(np.clip(day_E, 0, number) * MOVED_SHARE * world.config.items / 2).astype(np.int64)
    order_I = np.full(world.config.items, world.config.items)  # when an item's pair has its turn
    partner_I = np.arange(world.config.items)
    order_I[first] = order_I[second] = np.arange(len(first))
    partner_I[first], partner_I[second] = second, first
    return np.where(order_I[item_E] < upto, partner_I[item_E], item_E)


def _pairs(world: PlantedWorld) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return items of one topic and two niches, each in one pair at most, in a random order."""
    draws = generator(SEED, "moves")
    niche_I, pairs = world.item_niche, []
    topic_I = world.niche_topic[niche_I]
    for topic in range(world.config.topics):
        niches = [np.flatnonzero((topic_I == topic) & (niche_I == n)) for n in np.unique(niche_I[topic_I == topic])]
        mixed = [draws.permutation(items) for items in niches]
        for one, other in zip(mixed, [*mixed[1:], mixed[0]], strict=True):
            half = min(len(one), len(other)) // 2
            pairs.append(np.stack([one[:half], other[-half:]]))
    first, second = draws.permutation(np.concatenate(pairs, axis=1), axis=1)
    return first, second
