"""Visitors per second for which an arm retrieves, in batches, through the retriever of the service.

There is an arm with one vector and one with several. The models train for one epoch, as the cost of a request does not
depend on their quality.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from benchmarks import SEED
from benchmarks.child_process import run_in_child
from benchmarks.timing import rates, time_calls
from multitudes.retrieval.retriever import Retriever
from multitudes_lab.simulation.config import ExperimentConfig
from multitudes_lab.simulation.history import History
from multitudes_lab.simulation.release_policy import ReleasePolicy
from multitudes_lab.simulation.run import seed_folder, simulate
from multitudes_lab.simulation.world_config import day_start_s

ARMS = ("single", "joint")
MODEL = {"width": 32, "history": 40, "crossing": {"hidden": 0}}  # that of examples/world.toml
_REPEATS = 3


class Sizes(NamedTuple):
    """The size of a world, and the candidates of a visit."""

    users: int
    items: int
    candidates: int = 100


FULL = Sizes(2_000, 50_000)
QUICK = Sizes(200, 600)


def measure(sizes: Sizes) -> dict[str, Any]:
    """Return visitors per second by arm, each in a separate process."""
    with TemporaryDirectory(prefix="multitudes-bench-") as folder:
        run_in_child(prepare_arms, folder=folder, threads=1, **sizes._asdict())
        found = {arm: run_in_child(time_arm, folder=folder, arm=arm, threads=1, **sizes._asdict()) for arm in ARMS}
    return {"settings": sizes._asdict()} | {
        "arms": {arm: {"peak_mib": round(one.peak_mib)} | dict(one.value) for arm, one in found.items()}
    }


def experiment(users: int, items: int, candidates: int) -> ExperimentConfig:
    """Return an experiment of one day."""
    return ExperimentConfig.model_validate(
        {
            "seeds": [SEED],
            "world": {"users": users, "items": items},
            "loop": {"bootstrap_days": 2, "days": 1, "candidates": candidates},
            "model": MODEL,
            "train": {"epochs": 1, "validate_users": 100},
            "arms": {arm: {} for arm in ARMS},
        }
    )


def prepare_arms(folder: str, **sizes: int) -> None:
    """Train and publish the arms."""
    simulate(experiment(**sizes), Path(folder))


def time_arm(folder: str, arm: str, **sizes: int) -> dict[str, Any]:
    """Retrieve for all users, several times; return visitors per second on both clocks."""
    config = experiment(**sizes)
    world, loop = config.build_world(SEED), config.loop
    day, user_B = loop.bootstrap_days, np.arange(world.users)
    history = History(world.users)
    history.add(*(world.organic_actions(before) for before in range(day)))
    releases = seed_folder(Path(folder), SEED) / "arms" / arm / "releases"
    policy = ReleasePolicy(Retriever.open(releases), loop.candidates, world.topics, day_start_s(0))
    time_B = world.visit_times(day, user_B)
    policy.retrieve(day, user_B[:256], time_B[:256], history)  # the first call loads
    readings = time_calls(lambda: policy.retrieve(day, user_B, time_B, history), _REPEATS)
    return {"users_per_s": rates(readings, world.users)}
