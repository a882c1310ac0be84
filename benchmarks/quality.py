"""``python -m benchmarks.quality DATA --work DIR``: the methods on real sets, several seeds each, as figures in JSON.

For every set and variant: prepare, train, evaluate, through the command line that everybody uses, two processes side by
side. Work that is done is not repeated, so a run can be interrupted and goes on. The result names every setting; test
figures are written for the four methods only, variants are judged on validation.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, machine, versions
from multitudes.data.prepared import Split
from multitudes.evaluate.compare import compare, read_result

Settings = dict[str, Any]


KEPT = ("hr@10", "hr@100", "ndcg@100", "topics@100", "tail_share@100")


@dataclass(frozen=True)
class DataSet:
    """How a set is split (design: its README) and how many users are asked, drawn by a fixed seed."""

    split: str
    ties: str = "file"
    max_users: int | None = None
    train: Settings = field(default_factory=dict)  # the same for every method


SETS = {
    "movielens-small": DataSet("user", train={"epochs": 14}),
    "foursquare-nyc": DataSet("time"),
    "foursquare-saopaulo": DataSet("time"),
    "amazon-beauty": DataSet("leave_one_out", max_users=3000, train={"epochs": 12}),
    "complete-journey": DataSet(
        "time", ties="shuffle", max_users=400, train={"epoch_batches": 100, "epochs": 10, "validate_users": 300}
    ),
}


@dataclass(frozen=True)
class Variant:
    """A method with what differs from the defaults, and why it is asked."""

    method: str
    why: str
    model: Settings = field(default_factory=dict)
    train: Settings = field(default_factory=dict)


METHODS = {name: Variant(name, "default settings") for name in ("single", "clustering", "conditional", "joint")}
REMEDIES = {
    "paper": Variant(
        "clustering",
        "the paper's design: pooled items, no encoder, the centroid as condition, hard argmax, no unconditioned vector",
        {
            "unconditioned": False,
            "reads": "history",
            "isolate": False,
            "sequence": {"blocks": 0},
            "interests": 7,
            "clustering": {"item_norm": 0},
        },
        {"association": "argmax"},
    ),
    "argmax": Variant(
        "joint", "association by the nearest interest in place of the mixture", train={"association": "argmax"}
    ),
    "isolate": Variant("joint", "interests learn on top of an untouched unconditioned tower", {"isolate": True}),
    "sequence": Variant("joint", "clusters of encoded events in place of items", {"cluster_on": "sequence"}),
    "seven": Variant("joint", "K = 7 interests in place of 4", {"interests": 7}),
    "random": Variant("joint", "control: trained and served on a random partition", {"partition": "random"}),
}
VARIANTS = METHODS | REMEDIES


@dataclass(frozen=True)
class Cell:
    """One run: a set, a variant and a seed."""

    data: str
    variant: str
    seed: int

    def folder(self, work: Path) -> Path:
        """Where the run lies."""
        return work / self.data / f"{self.variant}-{self.seed}"


def main() -> None:
    """Run every cell that is not done, then collect."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("data", type=Path, help="folder with one folder of canonical tables per set")
    parser.add_argument("--work", type=Path, required=True, help="folder for prepared data and runs")
    parser.add_argument(
        "--sets", nargs="+", default=["movielens-small", "foursquare-nyc", "amazon-beauty", "complete-journey"]
    )
    parser.add_argument("--variants", nargs="+", default=list(METHODS), choices=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--collect", action="store_true", help="run nothing, write the figures of what is there")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side, one thread each")
    parser.add_argument("--out", type=Path, help="JSON file; default benchmarks/results/quality-SPLIT.json")
    given = parser.parse_args()
    if not given.collect:
        _run_all(given)
    out = given.out or ROOT / "benchmarks" / "results" / f"quality-{given.split}.json"
    record = {
        "machine": machine(),
        "versions": versions(),
        "seeds": given.seeds,
        "split": given.split,
        "sets": {name: _collect(name, given.variants, given.seeds, given.work, given.split) for name in given.sets},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1), encoding="utf-8")
    print(out)


def _run_all(given: argparse.Namespace) -> None:
    for name in given.sets:
        _prepare(given.data / name, given.work / name / "prepared", SETS[name])
    cells = [Cell(d, v, s) for s in given.seeds for d in given.sets for v in given.variants]
    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(lambda cell: _run(cell, given.work, given.split), cells))


def _prepare(data: Path, prepared: Path, settings: DataSet) -> None:
    if prepared.exists():
        return
    prepared.parent.mkdir(parents=True, exist_ok=True)
    # Followed topics of these sets were derived from the first fifth of each history.
    _multitudes(
        [
            "prepare",
            data,
            "--out",
            prepared,
            "--split",
            settings.split,
            "--ties",
            settings.ties,
            "--follows-from-share",
            0.2,
        ]
    )


def _run(cell: Cell, work: Path, split: Split) -> None:
    variant, folder = VARIANTS[cell.variant], cell.folder(work)
    config = work / cell.data / f"{cell.variant}.toml"
    # The controls are asked of joint's runs; the other methods are judged by their own lists.
    evaluate: Settings = {"budgets": [10, 100], "controls": "main_budget" if variant.method == "joint" else "none"}
    evaluate |= {"max_users": SETS[cell.data].max_users} if SETS[cell.data].max_users else {}
    config.write_text(
        _toml({"model": variant.model, "train": SETS[cell.data].train | variant.train, "evaluate": evaluate}),
        encoding="utf-8",
    )
    began = time.perf_counter()
    if not (folder / "weights.safetensors").exists():
        resume = ["--resume"] if folder.exists() else []
        arguments = ["train", work / cell.data / "prepared", "--method", variant.method, "--seed", cell.seed]
        _multitudes([*arguments, "--config", config, "--out", folder, *resume])
    if not (folder / f"evaluation-{split}.json").exists():
        _multitudes(["evaluate", folder, "--config", config, "--split", split])
    print(
        f"{cell.data} {cell.variant} seed {cell.seed}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True
    )


def _multitudes(arguments: Iterable[object]) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [str(Path(sys.executable).with_name("multitudes")), *map(str, arguments)]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def _toml(tables: dict[str, Settings]) -> str:
    """Write settings that are numbers, booleans, strings and one level of tables."""
    lines = []
    for name, values in tables.items():
        plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in plain.items())]
        for key, value in values.items():
            if isinstance(value, dict):
                lines += [f"[{name}.{key}]", *(f"{k} = {json.dumps(v)}" for k, v in value.items() if v is not None)]
    return "\n".join(lines) + "\n"


def _collect(name: str, variants: list[str], seeds: list[int], work: Path, split: Split) -> dict[str, Any]:
    """Return each variant's figures, over the seeds that are whole, and joint's differences to the others."""
    seeds = [
        seed
        for seed in seeds
        if all((Cell(name, v, seed).folder(work) / f"evaluation-{split}.json").exists() for v in variants)
    ]
    runs = {v: [Cell(name, v, seed).folder(work) for seed in seeds] for v in variants}
    results = {v: [read_result(run, split) for run in folders] for v, folders in runs.items()}
    records = {v: [json.loads((run / "run.json").read_text()) for run in folders] for v, folders in runs.items()}
    return {
        "seeds": seeds,
        "data": {key: value for key, value in results[variants[0]][0]["data"].items() if key != "path"}
        | {"asked_users": results[variants[0]][0]["users"], "targets": results[variants[0]][0]["n_targets"]},
        "results": {
            v: [_figures(result, record) for result, record in zip(results[v], records[v], strict=True)]
            for v in variants
        },
        "joint_minus": {
            v: compare(runs["joint"], runs[v], split)["differences"]
            for v in variants
            if v != "joint" and "joint" in variants
        },
    }


def _figures(result: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Return what the page shows of one run."""
    every = result["all_targets"]
    return {
        "methods": {name: _kept(figures) for name, figures in result["methods"].items()},
        "differences": {name: _kept(figures) for name, figures in result["differences"].items()},
        "segments": {
            group: {
                part: {"targets": figures["targets"], "methods": {m: _kept(f) for m, f in figures["methods"].items()}}
                for part, figures in parts.items()
                if "methods" in figures
            }
            for group, parts in result["segments"].items()
        },
        "interests": {
            key: value for key, value in result["interests"].items() if isinstance(value, dict) and "mean" in value
        }
        if result["interests"]
        else {},
        "all_targets": {name: _kept(figures) for name, figures in every["methods"].items()} if every else None,
        "shares": record["shares"],
        "validation": record["validation_hr@100"],
    }


def _kept(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: figures[key] for key in KEPT if key in figures}


if __name__ == "__main__":
    main()
