"""Files of a study with planted hit rates, so the correct conclusions are known."""

import json
from pathlib import Path

import numpy as np
import polars as pl

TARGETS = 6


def exactly(value: float) -> dict[str, float]:
    return {"mean": value, "low": value, "high": value}


INTERESTS = {"effective": exactly(2.5), "cosine": exactly(0.4), "empty_slots": exactly(0.1)}
TRIALS = [{"settings": {"train.learning_rate": rate}, "score": score} for rate, score in ((0.01, 0.2), (0.001, 0.3))]


def outcomes(
    rng: np.random.Generator,
    gains: dict[str, float],
    *,
    seeds: int = 3,
    users: int = 200,
    of_seeds: float = 0.0,
    for_whom: str | None = None,
    budgets: tuple[int, ...] = (100,),
) -> pl.DataFrame:
    """Return outcomes on one data set: each method finds a target with a user's own rate plus its gain.

    Args:
        rng: of the users and the hits.
        gains: planted gain in HR of each method, control (``joint/averaged``) or baseline (``popularity``).
        seeds: number of seeds of each method; baselines have one, −1.
        users: number of users.
        of_seeds: standard deviation of the models of a method.
        for_whom: activity of the users with the gain; None: all users.
        budgets: outcomes are the same at each.
    """
    rate_B = rng.uniform(0.2, 0.6, users)
    activity = np.array(["core", "casual"])[np.arange(users) % 2]
    users_columns = {
        "user_id": [f"u{number}" for number in range(users)],
        "activity": activity,
        "history": np.array(["1-9", "10-49", "50+"])[np.arange(users) % 3],
        "tastes": np.array(["1-2", "3+"])[np.arange(users) // 2 % 2],
        "targets": np.full(users, float(TARGETS)),
        **{f"{name}_targets": np.full(users, TARGETS / 3) for name in ("head", "torso", "tail")},
    }
    served_B = np.ones(users, dtype=bool) if for_whom is None else activity == for_whom
    frames = []
    for method, gain in gains.items():
        fixed = method in ("popularity", "recent_popularity")
        for seed in [-1] if fixed else range(seeds):
            shift = gain * served_B + (0 if fixed else rng.normal(0, of_seeds))
            share_B = rng.binomial(3 * TARGETS, np.clip(rate_B + shift, 0, 1)) / (3 * TARGETS)
            hits = share_B * TARGETS
            measures = {
                "hits": hits,
                "recall": share_B,
                "ndcg": share_B / 2,
                "served": np.where(np.arange(users) % 10 > 0, share_B, np.nan),
                "topics": hits / 2,
                "candidate_topics": np.full(users, 9.0),
                **{f"{name}_hits": hits / 3 for name in ("head", "torso", "tail")},
            }
            for budget in budgets:
                labels = {"method": method, "seed": seed, "kind": "new", "budget": budget}
                frames.append(pl.DataFrame({**labels, **users_columns, **measures}))
    return pl.concat(frames).with_columns(pl.col("seed", "budget").cast(pl.Int32))


def write_study(
    folder: Path,
    data: dict[str, pl.DataFrame],
    reference: str = "single",
    failed: tuple[tuple[str, str, int], ...] = (),
) -> Path:
    """Write a study's two files; cells in ``failed`` (data, method, seed) have failed."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = [frame.with_columns(pl.lit(name).alias("data")) for name, frame in data.items()]
    pl.concat(frames).write_parquet(folder / "outcomes.parquet")
    names = {
        (d, m, s)
        for d, frame in data.items()
        for m, s in frame.select("method", "seed").unique().iter_rows()
        if "/" not in m and s >= 0
    }
    cells = [_cell(*key) for key in sorted(names)]
    cells += [_cell(*key) | {"status": "failed", "error": "killed by signal 9"} for key in failed]
    record = {
        "name": "planted",
        "split": "validation",
        "opened_test": 0,
        "machine": {"cpu": "a processor", "cores": 2},
        "versions": {"multitudes": "0.1.0"},
        "reference": reference,
        "cells": cells,
        "tuning": [
            {"data": d, "method": m, "trials": TRIALS, "best": {"train.learning_rate": 0.001}}
            for d, m in sorted({key[:2] for key in names})
        ],
    }
    (folder / "cells.json").write_text(json.dumps(record))
    return folder


def _cell(data: str, method: str, seed: int) -> dict[str, object]:
    several = method != "single"
    return {
        "data": data, "method": method, "seed": seed, "status": "done", "error": None, "digest": "0" * 16,
        "settings": {"method": method}, "tuned": {"train.learning_rate": 0.001}, "trials": 2,
        "train_seconds": 10.0 + seed, "parameters": 1000, "vectors_per_user": 5 if several else 1,
        "p90_ms": 2.0, "targets_per_s": 500.0, "interests": INTERESTS if several else {},
    }  # fmt: skip
