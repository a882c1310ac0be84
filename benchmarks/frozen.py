"""Users trained over item vectors that are given, beside a training of both sides.

    python -m benchmarks.frozen TABLES WORK [--split leave_one_out] [--epochs 8]

TABLES is a folder of tables, or the name of a sample. The given vectors are those of a two-tower of this library
(`single`, without a linear history) and of iALS, both fitted on the training split alone; the control gets those of
`single` in a random order. Every run is judged on its validation users: HR@100 of first-time targets in the
uncalibrated list, and interests served by the vector of the whole history and by the list that training chooses.
Seconds are CPU time of a training with its validation and the choice of its list. A run that is there is kept.
"""

import argparse
import time
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from benchmarks.markdown import table
from benchmarks.records import read_epochs
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData
from multitudes.data.sample import SAMPLES, sample_path
from multitudes.linear.ials import fit_ials
from multitudes.linear.interactions import interaction_matrix
from multitudes.run_record import read_record
from multitudes.training.config import RunConfig
from multitudes.training.loop import train
from multitudes.training.runs import make_pinnersage_run
from multitudes.training.selection import draw_validation_users, hit_rate

REGULARISATION, ALPHA = 10.0, 10.0  # of iALS


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tables")
    parser.add_argument("work", type=Path)
    parser.add_argument("--split", default="user", choices=["user", "time", "leave_one_out"])
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args()
    torch.set_num_threads(1)
    tables = sample_path(given.tables) if given.tables in SAMPLES else Path(given.tables)
    settings = PrepareConfig(split=given.split, follows_from_share=0.2)
    work, shape = given.work, {"epochs": given.epochs, "batch_size": 64, "epoch_batches": 100, "learning_rate": 0.003}
    data = _open_or_prepare(tables, work / "data", settings)
    two_tower = _train(data, work / "two-tower", shape, method="single")
    rows = [_row("single", "both sides", two_tower), _row("joint", "both sides", _train(data, work / "joint", shape))]
    vectors_ID = two_tower["run"].item_vectors()
    factors_ID = fit_ials(interaction_matrix(data), REGULARISATION, ALPHA).item_IR
    shuffled_ID = vectors_ID.copy()
    shuffled_ID[1:] = np.random.default_rng(0).permutation(vectors_ID[1:])
    for name, array_ID in (("of single", vectors_ID), ("iALS", factors_ID), ("of single, shuffled", shuffled_ID)):
        folder = work / name.replace(" ", "-").replace(",", "")
        frozen = _with_vectors(tables, folder, settings, data, array_ID)
        sage = make_pinnersage_run(frozen, folder / "pinnersage", resume=True)
        users = draw_validation_users(frozen, RunConfig())
        rows.append(
            [f"pinnersage, {name}", "none", f"{hit_rate(sage, users, 100, sage.list_defaults.blend):.3f}", "", "", ""]
        )
        rows.append(_row(f"joint, {name}", "users", _train(frozen, folder / "joint", shape, item_tower="frozen")))
    heads = ["vectors", "trained", "HR@100", "served: one vector", "its list", "CPU s"]
    print("\n".join(table(heads, rows)))


def _open_or_prepare(tables: Path, out: Path, settings: PrepareConfig) -> PreparedData:
    return PreparedData.open(out) if out.exists() else prepare(tables, out, settings)


def _with_vectors(
    tables: Path, folder: Path, settings: PrepareConfig, data: PreparedData, vectors_ID: NDArray[np.float32]
) -> PreparedData:
    """Return the data with vectors by item number as the column ``embedding``; zeros are missing."""
    if not (folder / "tables").exists():
        copytree(tables, folder / "tables")
        own = data.items.select("item_id").with_columns(
            embedding=pl.Series(vectors_ID[1:].tolist(), dtype=pl.List(pl.Float32))
        )
        own = own.filter(pl.Series(vectors_ID[1:].any(axis=1)))
        items = pl.read_parquet(tables / "items.parquet").drop("embedding", strict=False)
        items.join(own, on="item_id", how="left").write_parquet(folder / "tables" / "items.parquet")
    return _open_or_prepare(folder / "tables", folder / "data", settings)


def _train(data: PreparedData, out: Path, shape: dict[str, Any], method: str = "joint", **model: str) -> dict[str, Any]:
    """Return a run, its record and the seconds of its training; an interrupted one goes on."""
    tower = {"neighbours": False, "crossing": {"hidden": 0}, **model}
    started_s = time.process_time()
    run = train(data, RunConfig.model_validate({"method": method, "model": tower, "train": shape}), out, resume=True)
    return {"run": run, "record": read_record(out), "seconds": time.process_time() - started_s}


def _row(name: str, trained: str, made: dict[str, Any]) -> list[str]:
    rate = max(epoch["validation_hit_rate"] for epoch in read_epochs(made["run"].path))
    record = made["record"]
    tried = record.get("list", {}).get("tried", [])
    chosen = [one for one in tried if (one["shares"], one["calibration"]) == (record["shares"], record["calibration"])]
    served = [f"{one['served']:.3f}" for one in (*tried[:1], *chosen[:1])] or ["", ""]
    return [name, trained, f"{rate:.3f}", *served, f"{made['seconds']:.0f}"]


if __name__ == "__main__":
    main()
