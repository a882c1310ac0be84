"""How much of its hits a training finds in how much of its time.

    python -m benchmarks.budget TABLES WORK [--split leave_one_out] [--seeds 0 1 2] [--set patience=4]

TABLES is a folder of tables, or the name of a sample. Copies of a training are finished after earlier epochs, so it
shows what shorter ones find: HR@100 of first-time targets in the uncalibrated list, on at most 10,000 validation users,
and what the chosen list serves. Seconds have the start, the validations and the end. A training that is there is kept.
"""

import argparse
import json
import time
from pathlib import Path
from shutil import copytree
from statistics import mean
from typing import Any

from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.markdown import table
from benchmarks.records import read_records
from benchmarks.timing import cpu_clock
from multitudes.atomic import write_json, write_text
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData
from multitudes.data.sample import SAMPLES, sample_path
from multitudes.run_record import read_record, write_record
from multitudes.threads import chosen_threads
from multitudes.training.config import RunConfig
from multitudes.training.loop import train
from multitudes.training.selection import draw_validation_users, hit_rate

Epochs = list[dict[str, float]]  # of a training: seconds until the end of each, and what it finds


def main(arguments: list[str] | None = None) -> None:
    """Train with every seed, keep the record of these tables, and print its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.budget", description=__doc__.split("\n")[0])
    parser.add_argument("tables")
    parser.add_argument("work", type=Path, help="folder of the runs")
    parser.add_argument("--split", default="user", choices=["user", "time", "leave_one_out"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="*", default=[], help="settings of [train], such as patience=4")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/budget.json")
    given, context = parser.parse_args(arguments), MeasurementContext()
    tables = sample_path(given.tables) if given.tables in SAMPLES else Path(given.tables)
    if not (given.work / "data").exists():
        prepare(tables, given.work / "data", PrepareConfig(split=given.split, follows_from_share=0.2))
    data = PreparedData.open(given.work / "data")
    settings = {name: json.loads(value) for name, value in (one.split("=") for one in given.set)}
    configs = [RunConfig.model_validate({"seed": seed, "train": settings}) for seed in given.seeds]
    curves = [curve(data, config, given.work / f"run-{config.seed}") for config in configs]
    how = {"seeds": given.seeds, "threads": chosen_threads(), "split": given.split, "set": settings}
    write_json(given.out, read_records(given.out) | {tables.name: context.head() | how | {"curves": curves}})
    print("\n".join(budgets(curves)))


def curve(data: PreparedData, config: RunConfig, out: Path) -> Epochs:
    """Return what a training has spent and found after each epoch, if it had ended there."""
    times, made = out.with_name(f"{out.name}.json"), Epochs()
    if not times.exists():
        start_s, start_cpu_s = time.perf_counter(), cpu_clock()

        def keep(record: dict[str, Any]) -> None:
            spent = {"wall_s": time.perf_counter() - start_s, "cpu_s": cpu_clock() - start_cpu_s}
            made.append({"epoch_hit_rate": record.get("validation_hit_rate", 0.0), **spent})
            if record:
                copytree(out, out.with_name(f"{out.name}-{len(made)}"))

        train(data, config, out, on_epoch=keep)
        keep({})
        end = {name: made[-1][name] - made[-2][name] for name in ("wall_s", "cpu_s")}
        write_text(times, json.dumps([one | {name: one[name] + end[name] for name in end} for one in made[:-1]]))
    found: Epochs = json.loads(times.read_text(encoding="utf-8"))
    for best in {_best(found[:end]) for end in _ends(found).values()}:
        found[best] |= _end(data, config, out.with_name(f"{out.name}-{best + 1}"), best + 1)
    return found


def _end(data: PreparedData, config: RunConfig, copy: Path, epochs: int) -> dict[str, float]:
    """Return what a run finds and serves if its last epoch was this one: the rest of the training, in a copy."""
    shorter, many = (
        config.model_copy(update={"train": config.train.model_copy(update=change)})
        for change in ({"epochs": epochs}, {"validate_users": 10_000})
    )
    write_record(copy, read_record(copy) | {"config": shorter.model_dump(mode="json")})
    run, record = train(data, shorter, copy, resume=True), read_record(copy)
    chosen = [one for one in record["list"]["tried"] if one["hit_rate"] == record["validation_hit_rate"]]
    return {"hit_rate": hit_rate(run, draw_validation_users(data, many), 100, run.blend), "served": chosen[0]["served"]}


def budgets(curves: list[Epochs]) -> list[str]:
    """Return a table with a row for each end of a training; the last is that of the settings."""
    found: dict[str, Epochs] = {}
    for one in curves:
        for name, end in _ends(one).items():
            ended = one[_best(one[:end])] | {"epochs": end} | {key: one[end - 1][key] for key in ("wall_s", "cpu_s")}
            found.setdefault(name, []).append(ended)
    means = {name: {key: mean(one[key] for one in ended) for key in ended[0]} for name, ended in found.items()}
    whole, rows = list(means.values())[-1]["hit_rate"], []
    for name, of in means.items():
        hits = [f"{of['hit_rate']:.4f}", f"{of['hit_rate'] / whole:.3f}", f"{of['served']:.3f}"]
        rows.append([name, f"{of['epochs']:.1f}", f"{of['cpu_s']:.0f}", f"{of['wall_s']:.0f}", *hits])
    return table(["ends by", "epochs", "CPU s", "wall s", "HR@100", "of the last", "served"], rows)


def _best(one: Epochs) -> int:
    return max(range(len(one)), key=lambda epoch: one[epoch]["epoch_hit_rate"])


def _ends(one: Epochs) -> dict[str, int]:
    """Return the number of epochs after which a training ends, by what ends it."""
    ends = {f"{n} epochs": min(n, len(one)) for n in (2, 4, 8)}
    for patience in (2, 3, 4):
        stops = (n for n in range(1, len(one)) if n - 1 - _best(one[:n]) >= patience)
        ends[f"patience {patience}"] = next(stops, len(one))
    return ends | {"as set": len(one)}


if __name__ == "__main__":
    main()
