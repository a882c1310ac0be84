"""From the logs of an arm to the release that serves it, by the verbs that everybody else uses.

prepare → train → publish; each is done once, and goes on where it was interrupted.
"""

import json
from pathlib import Path

import polars as pl

from multitudes.atomic import write_json
from multitudes.data.clean.attribution import FeedbackLogs
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData
from multitudes.index.factory import IndexConfig
from multitudes.progress import Progress, silent
from multitudes.publishing.publish import publish
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.config import RetrieveConfig
from multitudes.simulation import day_log
from multitudes.simulation.world import World
from multitudes.simulation.world_config import day_start_s
from multitudes.training.config import RunConfig
from multitudes.training.loop import train

# A save is what a feed is for. Clicks stand in the history; hides are no interest.
_PREPARE = PrepareConfig(split="time", positive_actions={"save": 1.0}, validation_share=0.05, test_share=0.01)


def write_tables(world: World, day: int, past_days: int, folder: Path) -> None:
    """Write the canonical tables of a world as they are on a day; events are those of the past, before any feed."""
    folder.mkdir(parents=True, exist_ok=True)
    world.items_table(day).write_parquet(folder / "items.parquet")
    world.users_table().write_parquet(folder / "users.parquet")
    days = [day_log.event_table(world.organic_actions(day), day, in_feed=False) for day in range(-past_days, 0)]
    pl.concat(days).write_parquet(folder / "events.parquet")


def prepare_arm(world: World, day: int, past_days: int, logs: Path, folder: Path) -> PreparedData:
    """Prepare what is known on the morning of a day: the past, and the logs until then."""
    if not (folder / "prepared").exists():
        write_tables(world, day, past_days, folder / "tables")
        what = FeedbackLogs(logs / "events", logs / "served")
        prepare(folder / "tables", folder / "prepared", _PREPARE, logs=what, now=day_start_s(day))
    return PreparedData.open(folder / "prepared")


def prepare_warnings(out: Path) -> list[str]:
    """Return what ``prepare`` warned of anywhere in an experiment, each once."""
    places = sorted([*out.glob("seed-*/learned/prepared"), *out.glob("seed-*/arms/*/learned-*/prepared")])
    return list(dict.fromkeys(said for place in places for said in PreparedData.open(place).manifest["warnings"]))


def train_run(prepared: PreparedData, config: RunConfig, run: Path, progress: Progress = silent) -> Path:
    """Train a run, or the rest of it."""
    return train(prepared, config, run, resume=run.exists(), progress=progress).path


def publish_release(run: Path, releases: Path, day: int, retrieve: RetrieveConfig, index: IndexConfig) -> None:
    """Publish a run as what serves from the morning of ``day`` on, once."""
    note = releases.parent / f"released-{day:05d}.json"
    if not note.exists():
        version = _recover_release(releases) or publish(run, releases, retrieve=retrieve, index=index).version
        write_json(note, {"version": version})


def _recover_release(releases: Path) -> str | None:
    """Let a version serve that was published just before an interruption, and return it: another would log its name."""
    store = ReleaseStore(releases)
    notes = releases.parent.glob("released-*.json")
    noted = {json.loads(note.read_text(encoding="utf-8"))["version"] for note in notes}
    left = [version for version in store.versions() if version not in noted] if any(releases.glob("*")) else []
    return store.rollback(left[-1]) if left else None
