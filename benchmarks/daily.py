"""``python -m benchmarks.daily DATA --work DIR``: going on day after day beside training anew, judged by the next day.

The newest events are cut into days of equal length. Each day a run goes on with what came since (``continued``), one
is trained on everything (``anew``), and a third is left as it was on the first day (``left``, the control: were it as
good, there would be nothing to go on for). All three are then asked for the day that follows, on the same data.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import SEED
from benchmarks.machine import ROOT, Circumstances
from benchmarks.timing import figure
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import Prepared
from multitudes.disk import write_json
from multitudes.evaluate.config import EvaluateConfig
from multitudes.evaluate.evaluate import evaluate
from multitudes.nn.user_config import UserTowerConfig
from multitudes.seeding import generator
from multitudes.train.config import RunConfig, TrainConfig
from multitudes.train.continuation import begin_with, continued
from multitudes.train.loop import train
from multitudes.train.parallel import ALONE
from multitudes.train.record import read_record
from multitudes.train.run import TrainedRun
from multitudes.train.step import fresh_state

ARMS = ("continued", "anew", "left")
BUDGET = 100
EPOCHS = 8  # most of them; validation on the first day says how many


def days(source: Path, work: Path, number: int, length_s: int, users: int) -> list[Prepared]:
    """Return the data at the end of each day and before the first: all events until then, and the next day as test."""
    events = pl.read_parquet(source / "events.parquet").sort("timestamp", maintain_order=True)
    some = generator(SEED, "users").permutation(events["user_id"].unique().sort().to_numpy())[:users]
    events = events.filter(pl.col("user_id").is_in(some.tolist()))
    last = int(events["timestamp"].max())  # type: ignore[arg-type]
    made = []
    for day in range(number + 1):
        folder, until = work / f"day-{day}", last - length_s * (number - day)
        if not (folder / "prepared" / "manifest.json").exists():
            (folder / "data").mkdir(parents=True, exist_ok=True)
            for name in ("items", "users"):
                (folder / "data" / f"{name}.parquet").write_bytes((source / f"{name}.parquet").read_bytes())
            known = events.filter(pl.col("timestamp") <= until)
            known.write_parquet(folder / "data" / "events.parquet")
            share = known.filter(pl.col("timestamp") > until - length_s).height / known.height
            prepare(folder / "data", folder / "prepared", PrepareConfig(test_share=share))
        made.append(Prepared.open(folder / "prepared"))
    return made


def hits(run: TrainedRun) -> pl.DataFrame:
    """Return hits and targets of each user in the day that follows."""
    config = EvaluateConfig(budgets=(BUDGET,), targets="new", controls="none", resamples=1)
    found = evaluate(run, config).outcomes
    return found.filter(pl.col("method") == run.config.method).select(
        pl.col("user_id").cast(pl.String), "hits", "targets"
    )


def left_as(run: TrainedRun, prepared: Prepared, config: RunConfig) -> TrainedRun:
    """Return ``run`` as it would answer with what ``prepared`` knows, without any training."""
    state = fresh_state(prepared, config)
    begin_with(state, prepared, config, ALONE)
    return TrainedRun(run.path, prepared, config, state.model)


def measure(data: list[Prepared], work: Path, model: UserTowerConfig) -> dict[str, Any]:
    """Return HR of each arm, day by day and over all days, with intervals of the differences."""
    chosen = RunConfig(method="joint", seed=SEED, model=model, train=TrainConfig(epochs=EPOCHS))
    train(data[0], chosen, work / "chosen", resume=True)
    record = read_record(work / "chosen")
    last_fit = chosen.train.model_copy(update={"final": True, "epochs": record["best_epoch"]})
    anew = chosen.model_copy(update={"train": last_fit, "shares": record["shares"]})
    daily = anew.model_copy(update={"train": last_fit.model_copy(update={"epochs": 1})})
    first = before = train(data[0], anew, work / "run-0", resume=True)
    seconds, tables = dict.fromkeys(ARMS, 0.0), []
    for day, prepared in enumerate(data[1:], start=1):
        arms = {
            "continued": train(prepared, continued(daily, before), work / f"continued-{day}", resume=True),
            "anew": train(prepared, anew, work / f"anew-{day}", resume=True),
            "left": left_as(first, prepared, continued(daily, first)),
        }
        before = arms["continued"]
        for arm, run in arms.items():
            tables.append(hits(run).with_columns(day=pl.lit(day), arm=pl.lit(arm)))
            if arm != "left":
                lines = (run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
                seconds[arm] += json.loads(lines[-1])["seconds"]
    found = pl.concat(tables)
    return {
        "days": len(data) - 1,
        "epochs_anew": record["best_epoch"],
        "seconds": {arm: figure(s) for arm, s in seconds.items()},
        "by_day": [{"day": day, **_rates(found.filter(pl.col("day") == day))} for day in range(1, len(data))],
        "all": _rates(found),
        "differences": {f"{arm} - anew": _difference(found, arm, "anew") for arm in ("continued", "left")},
    }


def _rates(found: pl.DataFrame) -> dict[str, float]:
    rate = found.group_by("arm").agg(pl.col("hits").sum() / pl.col("targets").sum())
    return {arm: figure(hit_rate) for arm, hit_rate in sorted(rate.iter_rows())}


def _difference(found: pl.DataFrame, arm: str, other: str) -> dict[str, float]:
    """Return the difference of two arms with the 95 % interval of a bootstrap of users, all days of a user together."""
    wide = found.group_by("user_id", "arm").agg(pl.col("hits", "targets").sum()).pivot("arm", index="user_id")
    gain = (wide[f"hits_{arm}"] - wide[f"hits_{other}"]).to_numpy()
    targets = wide[f"targets_{arm}"].to_numpy()
    drawn = generator(SEED, "bootstrap").integers(0, len(gain), size=(2000, len(gain)))
    low, high = np.percentile(gain[drawn].sum(axis=1) / targets[drawn].sum(axis=1), [2.5, 97.5])
    return {"mean": figure(gain.sum() / targets.sum()), "low": figure(low), "high": figure(high), "users": len(gain)}


def main() -> None:
    """Measure, and write the outcome as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.daily", description="Train day after day.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for data and runs; what is done is kept")
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--length-days", type=float, default=7)
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--width", type=int, default=32)
    given = parser.parse_args()
    circumstances = Circumstances()
    data = days(given.data, given.work, given.days, int(given.length_days * 86_400), given.users)
    found = measure(data, given.work, UserTowerConfig(width=given.width))
    about = {"data": given.data.name, "users": given.users, "length_days": given.length_days, "width": given.width}
    out = ROOT / "benchmarks" / "results" / "daily.json"
    write_json(out, circumstances.head() | {"seed": SEED} | about | found)
    print(f"{out}: {found['all']}, {found['differences']}")


if __name__ == "__main__":
    main()
