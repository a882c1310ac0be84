"""Ranks that train on a small world, and what kills them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from multitudes.data.planted import PlantedConfig, plant, write_world
from multitudes.data.prepare import PrepareConfig, prepare

ROOT = Path(__file__).parents[2]
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


def write_world_and_settings(folder: Path, epochs: int) -> None:
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
    file = Path(f"/proc/{launcher}/task/{launcher}/children")
    return [int(child) for child in file.read_text(encoding="ascii").split()] if file.exists() else []


def checkpoint_step(run: Path) -> int:
    """Return the step of the last checkpoint; 0 if there is none, or it is being replaced."""
    try:
        return int(json.loads((run / "checkpoint" / "position.json").read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError):
        return 0


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
    return (folder / one / "weights.safetensors").read_bytes() == (folder / other / "weights.safetensors").read_bytes()


def wait_for_ranks(launcher: subprocess.Popen[bytes], folder: Path, out: str) -> None:
    if launcher.wait():
        raise RuntimeError(f"{out} ended with {launcher.returncode}: {(folder / f'{out}.log').read_text()[-2000:]}")
