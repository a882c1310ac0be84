"""Memory of training in one process on tables of any size, and the shares of time of its steps.

An epoch has only a few batches, drawn from all targets, and ends with a validation, so peak memory is reached early.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks import SEED
from benchmarks.process import memory_field_mib, peak_mib
from benchmarks.profiling import profile
from benchmarks.records import read_epochs
from benchmarks.timing import round_figure
from benchmarks.train import PARTS
from multitudes.batches.examples import Examples
from multitudes.data.prepared import PreparedData
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.execution import ExecutionConfig
from multitudes.training.loop import fit

TRAIN = TrainConfig(epochs=2, epoch_batches=50, validate_users=100)
_READ_S = 0.02  # interval between two readings


def train_and_measure(prepared: str, out: str, parts: int) -> dict[str, Any]:
    """Train, each batch in ``parts``; return the targets of an epoch, MiB by their use, and the shares of a step."""
    torch.set_num_threads(1)
    data, config = PreparedData.open(prepared), RunConfig(method="joint", seed=SEED, train=TRAIN)
    before = memory_field_mib("RssAnon")
    with profile(PARTS) as stopwatch, _anonymous_mib() as readings:
        fit(data, config, Path(out), execution=ExecutionConfig(gradient_accumulation=parts))
    last = read_epochs(out)[-1]
    found = {
        "items": data.n_items,
        "parts_of_a_batch": parts,
        "own_libraries_mib": round_figure(before),
        "table_and_moments_mib": round_figure(3 * 4 * (data.n_items + 1) * config.model.width / 2**20),
        "anonymous_mib": round_figure(max(readings)),
        "peak_mib": round_figure(peak_mib()),
        "parts": stopwatch.shares(last["seconds"]),
        "targets_per_s": last["targets_per_s"],
    }
    examples = Examples(data, history=1, window=1, condition="auto")
    return {"targets": len(examples), **found}


@contextmanager
def _anonymous_mib() -> Iterator[list[float]]:
    """Read the anonymous memory of this process until the end of the block.

    The kernel may drop pages of mapped files, so they do not count.
    """
    readings, done = [memory_field_mib("RssAnon")], threading.Event()

    def watch() -> None:
        while not done.wait(_READ_S):
            readings.append(memory_field_mib("RssAnon"))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield readings
    finally:
        done.set()
        thread.join()
