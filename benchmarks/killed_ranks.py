"""``python -m benchmarks.killed_ranks [--kills 20]``: kill ranks during training; the run must still end correctly.

``torchrun`` restarts all ranks when one is lost, and they resume from their last checkpoint. The final weights are
compared bit for bit with those of an undisturbed run. Control: a run with another seed has other weights.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import SEED
from benchmarks.machine import ROOT, MeasurementContext
from multitudes.atomic import write_json
from multitudes.data.planted import PlantedConfig, plant, write_world
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.seeding import generator

_SETTINGS = """[model]
width = 16
history = 20
[train]
epochs = {epochs}
patience = {epochs}
batch_size = 32
in_batch = 64
uniform = 32
validate_users = 20
[execution]
checkpoint_steps = 3
timeout_s = 120
"""
_EPOCHS_PER_KILL = 2
_LAST_EPOCHS = 3  # without kills: a rank that is about to end may exit before it is killed


def write_world_and_settings(folder: Path, epochs: int) -> None:
    """Write a small prepared world and its settings."""
    write_world(plant(PlantedConfig(users=120, items=150, events=4000, niches=12, topics=6)), folder / "data")
    prepare(folder / "data", folder / "prepared", PrepareConfig(split="user"))
    (folder / "small.toml").write_text(_SETTINGS.format(epochs=epochs), encoding="utf-8")


def start_ranks(
    folder: Path, out: str, ranks: int, restarts: int = 0, options: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start ranks that train, and return their launcher; it writes ``{out}.log``."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--max-restarts", str(restarts)]
    place = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    train = ["train", str(folder / "prepared"), "--out", str(folder / out), "--config", str(folder / "small.toml")]
    with (folder / f"{out}.log").open("w", encoding="utf-8") as log:  # an unread pipe would fill up and block
        return subprocess.Popen(
            [sys.executable, *launcher, *place, "-m", "multitudes", *train, *options],
            cwd=ROOT,
            env=dict(os.environ) | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=log,
        )


def workers(launcher: int) -> list[int]:
    """Return the running child processes of the launcher."""
    file = Path(f"/proc/{launcher}/task/{launcher}/children")
    return [int(child) for child in file.read_text(encoding="ascii").split()] if file.exists() else []


def checkpoint_step(run: Path) -> int:
    """Return the step of the last checkpoint; 0 if there is none, or it is being replaced."""
    try:
        return int(json.loads((run / "checkpoint" / "position.json").read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError):
        return 0


def epoch_end_steps(run: Path) -> list[int]:
    """Return the step at which each epoch of a finished run ended."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [int(json.loads(line)["step"]) for line in lines]


def kill_at(launcher: subprocess.Popen[bytes], run: Path, steps: Sequence[int], random: np.random.Generator) -> int:
    """Kill a rank drawn at random when a checkpoint has reached each of ``steps``; return how many were killed."""
    killed = 0
    for step in steps:
        while launcher.poll() is None and not (checkpoint_step(run) >= step and workers(launcher.pid)):
            time.sleep(0.02)
        if launcher.poll() is not None:
            break
        time.sleep(float(random.random()) * 0.2)
        os.kill(int(random.choice(workers(launcher.pid))), signal.SIGKILL)
        killed += 1
        _wait_for_change(launcher, workers(launcher.pid))
    return killed


def _wait_for_change(launcher: subprocess.Popen[bytes], before: list[int]) -> None:
    """Wait until new ranks have replaced the previous ones."""
    while launcher.poll() is None and (set(workers(launcher.pid)) & set(before) or not workers(launcher.pid)):
        time.sleep(0.02)


def same_weights(folder: Path, one: str, other: str) -> bool:
    """Return whether the weights of two runs are equal to the byte."""
    return (folder / one / "weights.safetensors").read_bytes() == (folder / other / "weights.safetensors").read_bytes()


def kill_counts(asked: int, killed: int) -> dict[str, Any]:
    """Return the numbers of planned and actual kills, with a note if some kills came too late."""
    short = {"note": f"the run ended before {asked - killed} of {asked} kills"} if killed < asked else {}
    return {"asked": asked, "killed": killed} | short


def measure(kills: int, ranks: int, folder: Path) -> dict[str, Any]:
    """Train undisturbed, with kills, and with another seed; return the outcome."""
    write_world_and_settings(folder, kills * _EPOCHS_PER_KILL + _LAST_EPOCHS)
    seconds = {"whole": wait_for_ranks(start_ranks(folder, "whole", ranks), folder, "whole")}
    ends = epoch_end_steps(folder / "whole")  # the number of batches per epoch depends on the data
    steps = generator(SEED, "killed ranks").choice(ends[-_LAST_EPOCHS - 1], size=kills, replace=False)
    began, launcher = time.monotonic(), start_ranks(folder, "killed", ranks, restarts=kills + 1)
    killed = kill_at(launcher, folder / "killed", sorted(steps.tolist()), generator(SEED, "ranks to kill"))
    wait_for_ranks(launcher, folder, "killed")
    seconds["killed"] = round(time.monotonic() - began, 1)
    seconds["other"] = wait_for_ranks(start_ranks(folder, "other", ranks, options=("--seed", "1")), folder, "other")
    return {
        "ranks": ranks,
        "steps": ends[-1],
        **kill_counts(kills, killed),
        "seconds": seconds,
        "same_weights": same_weights(folder, "whole", "killed"),
        "control_same_weights": same_weights(folder, "whole", "other"),
    }


def wait_for_ranks(launcher: subprocess.Popen[bytes], folder: Path, out: str) -> float:
    """Wait until the ranks have ended, and return the seconds.

    Raises:
        RuntimeError: they failed.
    """
    began = time.monotonic()
    if launcher.wait():
        raise RuntimeError(f"{out} ended with {launcher.returncode}: {(folder / f'{out}.log').read_text()[-2000:]}")
    return round(time.monotonic() - began, 1)


def main() -> None:
    """Measure, and write the outcome as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.killed_ranks", description="Kill ranks that train.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--ranks", type=int, default=2)
    given = parser.parse_args()
    circumstances = MeasurementContext()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given.kills, given.ranks, Path(folder))
    out = ROOT / "benchmarks" / "results" / "killed-ranks.json"
    write_json(out, circumstances.head() | {"seed": SEED} | found)
    print(f"{out}: {found['killed']} of {found['asked']} kills, same weights: {found['same_weights']}")


if __name__ == "__main__":
    main()
