"""Training with several ranks against one process, each with one thread: targets per second, memory, shares of time.

``torchrun`` starts ``python -m benchmarks.parallel`` as each rank; every rank writes its own figures.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks import SEED
from benchmarks.machine import ROOT
from benchmarks.process import peak_mib
from benchmarks.profiling import TimedFunction, profile
from benchmarks.timing import cpu_clock, round_figure, settings, spread
from benchmarks.train import PARTS
from benchmarks.worlds import prepare_planted
from multitudes.data.planted import PlantedConfig
from multitudes.data.prepared import PreparedData
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.progress import Progress
from multitudes.training import distributed
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.distributed import join_ranks
from multitudes.training.loop import fit

ALL_PARTS = (TimedFunction("exchange and waiting", distributed, "_communicate"), *PARTS)


class Sizes(NamedTuple):
    """The world, the batches, and how often each number of ranks has its turn; the first epoch is a warm-up."""

    users: int = 1_000
    items: int = 20_000
    events: int = 300_000
    batch_size: int = 256
    epochs: int = 3
    epoch_batches: int = 15
    repeats: int = 3
    ranks: tuple[int, ...] = (1, 2)


FULL = Sizes()
QUICK = Sizes(users=20, items=300, events=1_000, batch_size=32, epochs=2, epoch_batches=2, repeats=1)


def measure(sizes: Sizes, folder: Path, progress: Progress) -> dict[str, Any]:
    """Return figures by number of ranks, and how many times as fast each is as one."""
    prepared = prepare_planted(
        folder, PlantedConfig(users=sizes.users, items=sizes.items, events=sizes.events, seed=SEED)
    )
    seen: dict[int, list[dict[str, Any]]] = {ranks: [] for ranks in sizes.ranks}
    for turn in range(sizes.repeats):
        for ranks in sizes.ranks:
            progress(turn, sizes.repeats, f"{ranks} ranks")
            seen[ranks].append(_train_once(sizes, prepared.path, folder / f"{ranks}-{turn}", ranks))
    rate = {ranks: spread([turn["targets_per_s"] for turn in turns]) for ranks, turns in seen.items()}
    return {
        "settings": settings(sizes) | {"torch_threads": 1},
        "runs": [
            {
                "ranks": ranks,
                "targets_per_s": rate[ranks],
                "times_as_fast": round_figure(rate[ranks]["median"] / rate[sizes.ranks[0]]["median"]),
                "cpu_s": spread([sum(turn["cpu_s"]) for turn in turns]),
                "peak_mib": spread([max(turn["peak_mib"]) for turn in turns]),
                "parts": turns[-1]["parts"],
            }
            for ranks, turns in seen.items()
        ],
    }


def _train_once(sizes: Sizes, prepared: Path, out: Path, ranks: int) -> dict[str, Any]:
    """Train once and return the figures of the ranks; rates leave out the first epoch, a warm-up."""
    job = {"prepared": str(prepared), "out": str(out), "sizes": sizes._asdict()}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    environment = dict(os.environ) | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [*launcher, "-m", "benchmarks.parallel", json.dumps(job)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stderr=subprocess.DEVNULL)
    saw = [json.loads(out.with_suffix(f".rank{rank}").read_text(encoding="utf-8")) for rank in range(ranks)]
    epochs = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "targets_per_s": spread([epoch["targets_per_s"] for epoch in epochs[1:]])["median"],
        "cpu_s": [rank["cpu_s"] for rank in saw],
        "peak_mib": [rank["peak_mib"] for rank in saw],
        "parts": saw[0]["parts"],
    }


def run_rank(job: dict[str, Any]) -> None:
    """Train as one rank, and write its figures."""
    torch.set_num_threads(1)
    sizes, out = Sizes(**job["sizes"]), Path(job["out"])
    train = TrainConfig(
        epochs=sizes.epochs,
        epoch_batches=sizes.epoch_batches,
        patience=sizes.epochs,
        batch_size=sizes.batch_size,
        validate_users=1,
    )
    config = RunConfig(method="joint", seed=SEED, model=UserTowerConfig(), train=train)
    with join_ranks(timeout_s=600) as ranks, profile(ALL_PARTS) as stopwatch:
        began = cpu_clock()
        fit(PreparedData.open(job["prepared"]), config, out, ranks=ranks)
        used = cpu_clock() - began
    seconds = json.loads((out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])["seconds"]
    found = {"cpu_s": round_figure(used), "peak_mib": round_figure(peak_mib()), "parts": stopwatch.shares(seconds)}
    out.with_suffix(f".rank{ranks.rank}").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    run_rank(json.loads(sys.argv[1]))
