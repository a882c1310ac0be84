"""Recent items weigh more in a linear history where tastes drift, and only there."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData
from multitudes.linear.fit import fit
from multitudes.linear.interactions import interaction_matrix
from multitudes.linear.run import Validation

USERS, NICHES, ITEMS_PER_NICHE, EVENTS = 200, 10, 120, 40


def drifting_tastes(folder: Path, *, shuffled: bool) -> PreparedData:
    """Return users who come to items of one niche first and of another one later, or to all of them in random order."""
    rng = np.random.default_rng(0)
    item_UE = np.empty((USERS, EVENTS), dtype=np.int64)
    for user in range(USERS):
        before, after = rng.choice(NICHES, 2, replace=False) * ITEMS_PER_NICHE
        halves = [start + rng.choice(ITEMS_PER_NICHE, EVENTS // 2, replace=False) for start in (before, after)]
        item_UE[user] = np.concatenate(halves)
        if shuffled:
            rng.shuffle(item_UE[user])
    columns = {
        "user_id": np.repeat(np.arange(USERS), EVENTS),
        "item_id": item_UE.ravel(),
        "timestamp": np.tile(np.arange(EVENTS), USERS),
    }
    folder.mkdir()
    pl.DataFrame(columns).write_parquet(folder / "events.parquet")
    items = np.arange(NICHES * ITEMS_PER_NICHE)
    pl.DataFrame({"item_id": items, "topics": [["any"]] * len(items)}).write_parquet(folder / "items.parquet")
    return prepare(folder, folder / "prepared", PrepareConfig(split="user"))


@pytest.mark.parametrize("shuffled", [False, True])
def test_recent_items_weigh_more_where_tastes_drift_and_not_in_random_order(tmp_path: Path, *, shuffled: bool) -> None:
    data = drifting_tastes(tmp_path / "world", shuffled=shuffled)
    found = fit(interaction_matrix(data), 32, Validation.sample(data).hit_rate)
    alike = Validation.sample(data).hit_rate(found.factors, 0.0)
    recent = Validation.sample(data).hit_rate(found.factors, 0.5)
    if shuffled:
        assert recent < 1.05 * alike
    else:
        assert found.chosen.recency > 0
        assert recent > 1.2 * alike
