"""``python -m benchmarks.train``: targets per second, and the share of each part in the time of a step.

``python -m benchmarks.page`` writes the figures into records/speed.md.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from benchmarks import SEED
from benchmarks.child_process import run_in_child
from benchmarks.machine import ROOT, MeasurementContext, machine
from benchmarks.profiling import TimedFunction, profile
from benchmarks.records import read_epochs
from benchmarks.timing import print_progress, round_figure, spread, time_calls
from multitudes.atomic import write_json
from multitudes.batches.examples import Examples
from multitudes.data.planted import PlantedConfig, plant, write_world
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData
from multitudes.nn.interests.clustering import Clustering
from multitudes.nn.methods import Method
from multitudes.nn.sequence_encoder import SequenceEncoder
from multitudes.nn.user_tower import UserTower
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.progress import Progress
from multitudes.training import loop, objective, step
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.optimizer import Adam

RESULTS = ROOT / "benchmarks" / "results" / "speed.json"
PARTS = (
    TimedFunction("make batch", Examples, "_batch"),
    TimedFunction("draw negatives", step, "draw_pool"),
    TimedFunction("draw negatives", step, "log_inclusion_probability"),
    TimedFunction("look-up and item tower", objective, "_embed_batch"),
    TimedFunction("sequence encoder", SequenceEncoder, "forward"),
    TimedFunction("clustering", Clustering, "forward"),
    TimedFunction("user tower", UserTower, "states"),
    TimedFunction("user tower", UserTower, "unconditioned_vector"),
    TimedFunction("loss", step, "batch_loss"),
    TimedFunction("backward", torch.Tensor, "backward"),
    TimedFunction("optimiser", torch.nn.utils, "clip_grad_norm_"),
    TimedFunction("optimiser", Adam, "step"),
)


class Sizes(NamedTuple):
    """The world, the case whose batches are large, and epochs of a few batches; the first epoch is a warm-up."""

    users: int
    items: int
    events: int
    history: int
    batch_size: int
    epochs: int
    large_batches: int  # batches of an epoch with one target per history
    default_batches: int  # batches of an epoch with the default settings
    methods: tuple[Method, ...] = ("single", "joint")
    cases: tuple[str, ...] = ("one target per history", "defaults")


FULL = Sizes(
    users=1_000,
    items=20_000,
    events=300_000,
    history=100,
    batch_size=1024,
    epochs=4,
    large_batches=4,
    default_batches=20,
)


def main() -> None:
    """Measure, and keep the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description="Measure the speed of training.")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--threads", type=int, help="1 on a busy machine, where threads mostly wait for each other")
    given = parser.parse_args()
    context = MeasurementContext()
    with TemporaryDirectory(prefix="multitudes-bench-") as folder:
        figures = measure(FULL, Path(folder), print_progress("train"), given.threads)
    head = context.head() | {"seeds": [SEED], "threads": given.threads or machine()["cores"]}
    write_json(given.out, head | {"figures": figures})


def prepare_world(folder: Path, users: int, items: int, events: int) -> PreparedData:
    """Write and prepare a planted world; items without events stay in the vocabulary."""
    write_world(plant(PlantedConfig(users=users, items=items, events=events, seed=SEED)), folder / "data")
    return prepare(folder / "data", folder / "prepared", PrepareConfig(split="user", min_item_count=0))


def cases(sizes: Sizes) -> dict[str, dict[str, Any]]:
    """Return the settings of each case that are not the defaults."""
    return {
        "one target per history": {
            "model": {"history": sizes.history},
            "train": {"batch_size": sizes.batch_size, "window": 1, "epoch_batches": sizes.large_batches},
        },
        "defaults": {"model": {}, "train": {"epoch_batches": sizes.default_batches}},
    }


def measure(sizes: Sizes, folder: Path, progress: Progress, threads: int | None = None) -> dict[str, Any]:
    """Return figures of each method, with one target per history and with the default settings."""
    prepared = prepare_world(folder, sizes.users, sizes.items, sizes.events)
    changes, measured = cases(sizes), list[dict[str, Any]]()
    for case in sizes.cases:
        for method in sizes.methods:
            progress(len(measured), len(sizes.cases) * len(sizes.methods), f"{method}, {case}")
            train = changes[case]["train"] | {"epochs": sizes.epochs, "patience": sizes.epochs, "validate_users": 1}
            out = folder / f"run-{len(measured)}"
            outcome = run_in_child(
                train_and_measure,
                threads,
                prepared=str(prepared.path),
                method=method,
                model=changes[case]["model"],
                train=train,
                out=str(out),
            )
            measured.append(
                {"case": case, "method": method, "peak_mib": round_figure(outcome.peak_mib), **outcome.value}
            )
    return {"settings": sizes._asdict(), "runs": measured}


def train_and_measure(
    prepared: str, method: Method, model: dict[str, Any], train: dict[str, Any], out: str
) -> dict[str, Any]:
    """Train, and return rates by epoch without the warm-up, and the shares of time of all steps."""
    config = RunConfig(
        method=method,
        seed=SEED,
        model=UserTowerConfig.model_validate(model | {"neighbours": False}),  # its fit is no step
        train=TrainConfig.model_validate(train),
    )
    data = PreparedData.open(prepared)
    with profile(PARTS) as stopwatch:
        readings = time_calls(lambda: loop.train(data, config, Path(out)), 1)
    epochs = read_epochs(out)
    steps = epochs[-1]["step"]
    return {
        "width": config.model.width,
        "history": config.model.history,
        "batch_size": config.train.batch_size,
        "window": config.train.window,
        "mean_history": round_figure(_mean_history(data, config)),
        "targets_per_s": spread([epoch["targets_per_s"] for epoch in epochs[1:]]),
        "step_ms": round_figure(1000 * epochs[-1]["seconds"] / steps),
        "step_cpu_ms": round_figure(
            1000 * readings.cpu[0] / steps
        ),  # of the whole run, opening and validation included
        "steps": steps,
        "parts": stopwatch.shares(epochs[-1]["seconds"]),
    }


def _mean_history(data: PreparedData, config: RunConfig) -> float:
    """Return the mean history length of the targets: short histories cost less than the maximum L suggests."""
    examples = Examples(data, history=1, window=1, condition="auto")
    past = data.event_past[examples.position.to_array()].clip(max=config.model.history)
    return float(past.mean())


if __name__ == "__main__":
    main()
