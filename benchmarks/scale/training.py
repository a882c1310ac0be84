"""Memory of training in one process on tables of any size, and the shares of time of its steps.

An epoch has only a few batches, drawn from all targets, and ends with a validation, so peak memory is reached early.
"""

import json
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from benchmarks import SEED
from benchmarks.child_process import run_in_child
from benchmarks.process import memory_field_mib, peak_mib
from benchmarks.profiling import profile
from benchmarks.timing import round_figure
from benchmarks.train import PARTS
from multitudes.batches.examples import Examples
from multitudes.data.prepared import PreparedData
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.execution import ExecutionConfig
from multitudes.training.loop import fit

TRAIN = TrainConfig(epochs=2, epoch_batches=50, validate_users=100)
_READ_S = 0.02  # interval between two readings


def measure_training(prepared: Path, out: Path, parts: int = 1) -> dict[str, Any]:
    """Return the targets of an epoch, MiB by what they are for, and what share of a step each part takes."""
    found: dict[str, Any] = run_in_child(
        train_and_measure, threads=1, prepared=str(prepared), out=str(out), parts=parts
    ).value
    return found


def train_and_measure(prepared: str, out: str, parts: int) -> dict[str, Any]:
    """Train, each batch in ``parts``, and return what was seen."""
    torch.set_num_threads(1)
    data, config, before = (
        PreparedData.open(prepared),
        RunConfig(method="joint", seed=SEED, train=TRAIN),
        memory_field_mib("RssAnon"),
    )
    with profile(PARTS) as stopwatch, AnonymousMemory() as own:
        fit(data, config, Path(out), execution=ExecutionConfig(gradient_accumulation=parts))
    last = json.loads((Path(out) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    found = {
        "items": data.n_items,
        "parts_of_a_batch": parts,
        "own_libraries_mib": round_figure(before),
        "table_and_moments_mib": round_figure(3 * 4 * (data.n_items + 1) * config.model.width / 2**20),
        "anonymous_mib": round_figure(own.most_mib),
        "peak_mib": round_figure(peak_mib()),
        "parts": stopwatch.shares(last["seconds"]),
        "targets_per_s": last["targets_per_s"],
    }
    examples = Examples(data, history=1, window=1, condition="auto")
    return {"targets": len(examples), **found}


class AnonymousMemory:
    """Tracks the anonymous memory of this process; the kernel may drop pages of mapped files, so they do not count."""

    def __init__(self) -> None:
        self.most_mib = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_READ_S):
            self.most_mib = max(self.most_mib, memory_field_mib("RssAnon"))
