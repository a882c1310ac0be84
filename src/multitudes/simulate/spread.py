"""What each arm showed: how much of the catalogue, of each user's tastes, from where.

Legend: U users · K tastes · I items · R shown, a row each.
"""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from multitudes.simulate.config import ExperimentConfig
from multitudes.simulate.feed import name_of
from multitudes.simulate.run import seed_folder
from multitudes.simulate.slates import SOURCES
from multitudes.simulate.world import World

_TOP = 0.01  # of the items


def spread(config: ExperimentConfig, out: Path) -> pl.DataFrame:
    """Return (arm, measure, value), the mean over seeds, of the days of the test.

    * catalogue: share of the items that are there which were shown to anybody;
    * top 1 %: share of what was shown that is of the hundredth of items that was shown most;
    * tastes: how much of what a user likes, by weight, had an item among those shown at a visit; mean over visits;
    * candidates, shown, saves by source: shares, of each source that any arm has;
    * overlap: share of the explicit candidates that an implicit interest had among its own best too;
    * degraded: share of the answers.
    """
    rows: list[dict[str, Any]] = []
    for seed in config.seeds:
        world, arms = config.world_of(seed), seed_folder(out, seed) / "arms"
        rows += [{"arm": arm, **_of(config, world, arms / arm / "logs")} for arm in config.arms]
    table = pl.DataFrame(rows, infer_schema_length=None).unpivot(index="arm", variable_name="measure").drop_nulls()
    means = table.group_by("arm", "measure", maintain_order=True).agg(pl.col("value").mean())
    by_source = pl.col("measure").str.contains(", ", literal=True)
    return means.filter(~by_source | (pl.col("value").max().over("measure") > 0))


def _of(config: ExperimentConfig, world: World, logs: Path) -> dict[str, float]:
    first, end = config.loop.bootstrap_days, config.loop.bootstrap_days + config.loop.days
    columns = ["user_id", "item_id", "source", "degraded", "slot", "done", "both"]
    served = pl.concat(
        pl.read_parquet(logs / "served" / name_of(day), columns=columns).with_columns(day=day)
        for day in range(first, end)
    )
    shown = served.drop_nulls("slot")
    there = int((world.born_I < end).sum())
    count_I = np.sort(np.bincount(shown["item_id"].to_numpy(), minlength=world.items))[::-1]
    measures = {
        "catalogue": float((count_I > 0).sum()) / there,
        "top 1 %": float(count_I[: max(1, round(_TOP * there))].sum() / max(count_I.sum(), 1)),
        "tastes": _tastes(world, shown),
        "degraded": float(served["degraded"].mean() or 0),  # type: ignore[arg-type]
    }
    for name, rows in (("candidates", served), ("shown", shown), ("saves", shown.filter(pl.col("done") == "save"))):
        shares = dict(rows["source"].value_counts(normalize=True).iter_rows())
        measures |= {f"{name}, {source}": shares.get(source, 0.0) for source in SOURCES}
    explicit = served.filter(pl.col("source") == "explicit")
    if len(explicit):
        measures["overlap"] = float(explicit["both"].mean())  # type: ignore[arg-type]
    return measures


def _tastes(world: World, shown: pl.DataFrame) -> float:
    """Return how much of what its user likes a visit touched, by weight; the mean over visits."""
    total, visits = 0.0, 0
    for (day,), rows in shown.group_by("day"):
        niche_UK, weight_UK = world.tastes(int(day))
        user_B, b_R = np.unique(rows["user_id"].to_numpy(), return_inverse=True)
        niche_R = world.niche_I[rows["item_id"].to_numpy()]
        touched_BK = np.zeros((len(user_B), niche_UK.shape[1]), dtype=np.bool_)
        np.logical_or.at(touched_BK, b_R, niche_UK[user_B][b_R] == niche_R[:, None])
        total += float((weight_UK[user_B] * touched_BK).sum())
        visits += len(user_B)
    return total / max(visits, 1)
