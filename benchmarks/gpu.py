"""``python -m benchmarks.gpu``: training on one and two devices, in float32 and bfloat16, compiled or not.

It writes ``benchmarks/results/gpu.json`` and ``records/gpu.md``; ``--device cpu --tiny`` shows that it runs. Each cell
trains in processes of its own under torchrun. A cell that fails keeps its error, and the others go on.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from benchmarks import SEED
from benchmarks.child_process import limited_environment
from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.markdown import format_number, table
from benchmarks.records import read_epochs
from benchmarks.timing import round_figure
from benchmarks.train import prepare_world
from multitudes.atomic import write_json, write_text
from multitudes.data.prepared import PreparedData
from multitudes.training import loop
from multitudes.training.config import RunConfig
from multitudes.training.distributed import join_ranks
from multitudes.training.execution import ExecutionConfig, set_precision

RESULTS, PAGE = ROOT / "benchmarks" / "results" / "gpu.json", ROOT / "records" / "gpu.md"
_LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
_HEAD = """# Training on a GPU

Written by `python -m benchmarks.gpu`; do not edit. The command trains one model in each cell: batches of 1,024, 8,192
and 16,384 histories, float32 and bfloat16, with and without `torch.compile`, on one device and on two.
"""


class Sizes(NamedTuple):
    """The world, and the cells; an epoch has few batches, and the first is a warm-up."""

    users: int = 200_000
    items: int = 100_000
    events: int = 5_000_000
    batch_sizes: tuple[int, ...] = (1024, 8192, 16384)
    precisions: tuple[str, ...] = ("float32", "bfloat16")
    compiled: tuple[bool, ...] = (False, True)
    epochs: int = 4
    epoch_batches: int = 50


_ONE_CELL = {"batch_sizes": (16,), "precisions": ("bfloat16",), "compiled": (False,)}
TINY = Sizes(users=60, items=200, events=3_000, epochs=2, epoch_batches=2, **_ONE_CELL)  # type: ignore[arg-type]


class Cell(NamedTuple):
    """What is trained."""

    devices: int
    batch_size: int
    precision: str
    is_compiled: bool


def main(arguments: list[str] | None = None) -> None:
    """Measure every cell, and write the record and the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Measure training on GPUs.")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a world of 60 users: shows that the command runs")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args(arguments)
    available = torch.cuda.device_count() if given.device == "cuda" else 2
    if not available:
        parser.error("torch sees no GPU here; use --device cpu --tiny to see that the command runs")
    context = MeasurementContext()
    with tempfile.TemporaryDirectory(prefix="multitudes-gpu-") as folder:
        figures = measure(TINY if given.tiny else Sizes(), given.device, available, Path(folder))
    name = torch.cuda.get_device_name() if given.device == "cuda" else "cpu"
    write_json(given.out, context.head() | {"device": name, "figures": figures})
    write_text(given.page, page(json.loads(given.out.read_text(encoding="utf-8"))))


def measure(sizes: Sizes, device: str, available: int, folder: Path) -> list[dict[str, Any]]:
    """Return the figures of each cell, or its error."""
    prepare_world(folder, sizes.users, sizes.items, sizes.events)
    axes = (range(1, min(available, 2) + 1), sizes.batch_sizes, sizes.precisions, sizes.compiled)
    found: list[dict[str, Any]] = []
    for cell in map(Cell._make, product(*axes)):
        print(f"{device}: {cell}", file=sys.stderr, flush=True)
        given = {"prepared": str(folder / "prepared"), "device": device, "out": str(folder / f"run-{len(found)}")}
        settings = {"epochs": sizes.epochs, "epoch_batches": sizes.epoch_batches, **given, "cell": cell._asdict()}
        command = [sys.executable, *_LAUNCHER, str(cell.devices), "-m", "benchmarks.gpu", json.dumps(settings)]
        environment = limited_environment(1) if device == "cpu" else None
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        line = done.stdout.splitlines()[-1] if done.stdout and not done.returncode else ""
        errors = [text.strip() for text in done.stderr.splitlines() if "Error" in text]
        outcome = json.loads(line) if line else {"error": (errors or [f"ended with {done.returncode}"])[0][:200]}
        found.append(cell._asdict() | outcome)
    return found


def train_cell(prepared: str, device: str, out: str, cell: dict[str, Any], **train: int) -> None:
    """Train as one of the ranks; the first prints targets per second, memory of its device, and hits."""
    shape = Cell(**cell)
    settings = train | {"patience": train["epochs"], "batch_size": shape.batch_size, "device": device}
    config = RunConfig.model_validate(
        {"method": "joint", "seed": SEED, "model": {"neighbours": False}, "train": settings}
    )
    execution = ExecutionConfig.model_validate({"precision": shape.precision})
    if shape.is_compiled:
        loop.set_precision = _compile  # type: ignore[attr-defined]
    with join_ranks(600.0) as ranks:
        loop.fit(PreparedData.open(prepared), config, out, execution=execution, ranks=ranks)
        if not ranks.is_first:
            return
    epochs = read_epochs(out)
    found = {
        "targets_per_s": max(epoch["targets_per_s"] for epoch in epochs[1:]),
        "device_mib": round_figure(torch.cuda.max_memory_allocated() / 2**20) if device == "cuda" else None,
        "hit_rate": epochs[-1]["validation_hit_rate"],
    }
    print(json.dumps(found))


def _compile(model: Any, config: ExecutionConfig) -> Any:  # noqa: ANN401
    """Set the precision, then compile the layers of the towers; lengths vary from batch to batch."""
    set_precision(model, config)
    for module in (model.items.layers, model.user.sequence, model.user.crossing):
        if isinstance(module, nn.Module):
            module.forward = torch.compile(module.forward, dynamic=True)
    return model


def page(record: Mapping[str, Any] | None) -> str:
    """Return the page of a record; without one it says that nothing was run."""
    if record is None:
        return f"{_HEAD}\n**Not run**: no GPU was at hand. A test runs the command on a CPU at a tiny size.\n"
    rows = [
        [str(cell["devices"]), f"{cell['batch_size']:,}", cell["precision"], "yes" if cell["is_compiled"] else "no"]
        + ([cell["error"], "", ""] if "error" in cell else _figures(cell))
        for cell in record["figures"]
    ]
    head = ["devices", "batch", "precision", "compiled", "targets/s", "device MiB", "hit rate"]
    versions = f"torch {record['versions']['torch']}, commit {record['versions']['commit']}"
    return "\n".join([_HEAD, f"{record['when']}, {record['device']}, {versions}.", "", *table(head, rows)])


def _figures(cell: Mapping[str, Any]) -> list[str]:
    sizes = (cell["targets_per_s"], cell["device_mib"])
    return [*("" if size is None else format_number(size) for size in sizes), f"{cell['hit_rate']:.3f}"]


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("{"):
        train_cell(**json.loads(sys.argv[1]))
    else:
        main()
