"""``python -m benchmarks.cost``: FLOPs and bytes of a training target, beside the rate of ``benchmarks.train``.

FLOPs are those of matrix products, forward and backward, as torch counts them. Bytes are those that each operation
reads and writes, as if nothing stayed in a cache. ``benchmarks.page`` adds the model of a GPU, which is assumed.
"""

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import SEED
from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.profiling import profile
from benchmarks.timing import round_figure
from benchmarks.train import FULL, PARTS, cases, prepare_world
from benchmarks.train import RESULTS as SPEED
from multitudes.atomic import write_json
from multitudes.data.prepared import PreparedData
from multitudes.training import step
from multitudes.training.config import RunConfig
from multitudes.training.loop import training_examples

RESULTS = ROOT / "benchmarks" / "results" / "cost.json"
_GEMM, _REPEATS, _BATCHES = 512, 300, 2
_OF_ROWS = {"embedding", "index_select", "gather", "index"}  # they read the rows that they return, and no other


class _Bytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sums the bytes that operations read and write; views move none."""

    moved = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        out = func(*args, **(kwargs or {}))
        if not any(one.alias_info and not one.alias_info.is_write for one in func._schema.returns):
            written = sum(map(_size, tree_leaves(out)))
            of_rows = func.overloadpacket.__name__ in _OF_ROWS
            self.moved += written + (written if of_rows else sum(map(_size, tree_leaves((args, kwargs)))))
        return out


def _size(value: object) -> int:
    if not isinstance(value, torch.Tensor):
        return 0
    values = value._values() if value.is_sparse else value
    return values.numel() * values.element_size()


def main() -> None:
    """Count and measure, and keep the record."""
    context, measured = MeasurementContext(), json.loads(SPEED.read_text(encoding="utf-8"))
    rates = {(run["case"], run["method"]): run["targets_per_s"]["median"] for run in measured["figures"]["runs"]}
    with TemporaryDirectory(prefix="multitudes-cost-") as folder:
        prepared = prepare_world(Path(folder), FULL.users, FULL.items, FULL.events)
        counts = [
            {"case": case, "method": method, "targets_per_s": rates[case, method], **count(prepared, method, **given)}
            for case, given in cases(FULL).items()
            for method in FULL.methods
        ]
    torch.set_num_threads(measured["threads"])
    write_json(RESULTS, context.head() | {"gemm_gflops": gemm_gflops(), "runs": counts})


def count(prepared: PreparedData, method: str, model: dict[str, Any], train: dict[str, Any]) -> dict[str, Any]:
    """Return FLOPs and bytes of a target over a few whole steps, and the share of each part in the FLOPs."""
    config = RunConfig.model_validate({"method": method, "seed": SEED, "model": model, "train": train})
    state, examples = step.initial_state(prepared, config), training_examples(prepared, config)
    batches = list(examples.windows.epoch_batches(config.train.batch_size, SEED, 0, _BATCHES))
    targets = sum(int((windows.stop_B - windows.start_B).sum()) for windows in batches)
    flops, moved = FlopCounterMode(display=False), _Bytes()  # type: ignore[no-untyped-call]
    with flops, moved, profile(PARTS, clock=flops.get_total_flops) as counted:
        for windows in batches:
            step.compute_gradients(state, examples, windows, config)
            step.optimizer_step(state)
    total = flops.get_total_flops()
    parts = {part: share for part, share in counted.shares(total).items() if share}
    return {"flops": round_figure(total / targets), "bytes": round_figure(moved.moved / targets), "parts": parts}


def gemm_gflops() -> float:
    """Return the rate of a large matrix product in float32, the best of some."""
    left, best = torch.rand(_GEMM, _GEMM), 0.0
    for _ in range(_REPEATS):
        began = time.perf_counter()
        left @ left
        best = max(best, 2 * _GEMM**3 / (time.perf_counter() - began) / 1e9)
    return round_figure(best)


if __name__ == "__main__":
    main()
