"""From the logs of an arm to the release that serves it, by the same functions as a real service.

prepare → train → publish; each step is done once, and continues after an interruption.
"""

import json
from pathlib import Path

import polars as pl

from multitudes.atomic import write_json
from multitudes.data.clean.attribution import FeedbackLogs
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData
from multitudes.evaluation.reranked import RerankedSystems
from multitudes.index.factory import IndexConfig
from multitudes.publishing.publish import publish
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.scorer import catalogue
from multitudes.training.trained_run import TrainedRun
from multitudes_lab.simulation import day_log
from multitudes_lab.simulation.release_policy import Reranker
from multitudes_lab.simulation.world import World
from multitudes_lab.simulation.world_config import day_start_s

# A save is the positive action of a feed. Clicks are in the history only; hides are not an interest.
_PREPARE = PrepareConfig(split="time", positive_actions={"save": 1.0}, validation_share=0.05, test_share=0.01)


def write_tables(world: World, day: int, past_days: int, folder: Path) -> None:
    """Write the canonical tables of a world as of a day; the events are those of the past, before any feed."""
    folder.mkdir(parents=True, exist_ok=True)
    world.items_table(day).write_parquet(folder / "items.parquet")
    world.users_table().write_parquet(folder / "users.parquet")
    days = [day_log.event_table(world.organic_actions(day), day, in_feed=False) for day in range(-past_days, 0)]
    pl.concat(days).write_parquet(folder / "events.parquet")


def prepare_arm(world: World, day: int, past_days: int, logs: Path, folder: Path) -> PreparedData:
    """Prepare the data known on the morning of a day: the past, and the logs since."""
    if not (folder / "prepared").exists():
        write_tables(world, day, past_days, folder / "tables")
        feedback = FeedbackLogs(logs / "events", logs / "served")
        prepare(folder / "tables", folder / "prepared", _PREPARE, logs=feedback, now=day_start_s(day))
    return PreparedData.open(folder / "prepared")


def prepare_warnings(out: Path) -> list[str]:
    """Return the warnings of all prepared folders of an experiment, each once."""
    folders = sorted([*out.glob("seed-*/learned/prepared"), *out.glob("seed-*/arms/*/learned-*/prepared")])
    return list(dict.fromkeys(text for path in folders for text in PreparedData.open(path).manifest["warnings"]))


def publish_release(run: Path, releases: Path, day: int, retrieve: RetrieveConfig, index: IndexConfig) -> None:
    """Publish a run, once, as the release that serves from the morning of ``day``."""
    note = releases.parent / f"released-{day:05d}.json"
    if not note.exists():
        version = _recover_release(releases) or publish(run, releases, retrieve=retrieve, index=index).version
        write_json(note, {"version": version})


def _recover_release(releases: Path) -> str | None:
    """Activate a release that was published just before an interruption, and return its version.

    Publishing again would give the release another name in the logs.
    """
    store = ReleaseStore(releases)
    notes = releases.parent.glob("released-*.json")
    recorded = {json.loads(note.read_text(encoding="utf-8"))["version"] for note in notes}
    rest = [version for version in store.versions() if version not in recorded] if any(releases.glob("*")) else []
    return store.rollback(rest[-1]) if rest else None


def fit_reranker(name: str, run: Path, retrieve: RetrieveConfig, n: int) -> Reranker:
    """Return a re-ranker of a run's lists of ``n`` items; λ is chosen as an evaluation of the test split does."""
    trained = TrainedRun.open(run)
    items = catalogue(trained, trained.item_vectors())
    settings = with_run_defaults(retrieve, trained.list_defaults)
    return Reranker(name, RerankedSystems(trained, items, settings, n, "test").weights[name][0])
