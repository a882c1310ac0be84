"""Data and runs that several subjects share."""

from pathlib import Path

from multitudes.data.planted import PlantedConfig, plant, write_world
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData
from multitudes.nn.methods import Method
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.progress import Progress, silent
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.loop import train
from multitudes.training.trained_run import TrainedRun


def prepare_planted(folder: Path, config: PlantedConfig) -> PreparedData:
    """Plant a world and prepare it, split by user; items without events stay in the vocabulary."""
    write_world(plant(config), folder / "data")
    return prepare(folder / "data", folder / "prepared", PrepareConfig(split="user", min_item_count=0))


def train_with_defaults(
    prepared: PreparedData, method: Method, epochs: int, seed: int, progress: Progress = silent
) -> TrainedRun:
    """Train briefly with the defaults and a small validation: the cost of a request does not depend on quality."""
    settings = TrainConfig(epochs=epochs, validate_users=100)
    config = RunConfig(method=method, seed=seed, model=UserTowerConfig(), train=settings)
    return train(prepared, config, prepared.path.parent / method, progress=progress)
