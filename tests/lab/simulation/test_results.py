"""The metrics of a log written by hand: every share of it."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from multitudes_lab.simulation.config import ExperimentConfig
from multitudes_lab.simulation.day_log import day_file_name
from multitudes_lab.simulation.results import impression_metrics

SETTINGS = {
    "world": {"users": 50, "items": 300, "topics": 10, "niches": 40, "burst_share": 0.0},
    "loop": {"past_days": 1, "bootstrap_days": 2, "days": 1, "candidates": 4, "slots": 2},
    "arms": {"a": {"policy": "popular"}},
}
LOG = {"user_id": pl.Int64, "item_id": pl.Int64, "source": pl.String, "slot": pl.Int32, "done": pl.String}


def measures(
    folder: Path, *rows: tuple[int, int, str, int | None, str | None], both: tuple[bool, ...]
) -> dict[str, float]:
    """Return the measures of one day with these served rows; the first response is degraded."""
    logs = folder / "seed-0" / "arms" / "a" / "logs" / "served"
    logs.mkdir(parents=True)
    table = pl.DataFrame(rows, schema=LOG, orient="row").with_columns(degraded=pl.col("user_id") == rows[0][0])
    table.with_columns(both=pl.Series(both)).write_parquet(logs / day_file_name(2))
    found = impression_metrics(ExperimentConfig.model_validate(SETTINGS), folder)
    return {measure: value for _, measure, value in found.iter_rows()}


def test_every_share_of_a_small_log(tmp_path):
    world = ExperimentConfig.model_validate(SETTINGS).build_world(0)
    niche_UK, weight_UK = world.tastes(2)
    liked = int(niche_UK[7, weight_UK[7].argmax()])
    other = next(niche for niche in range(40) if niche not in niche_UK[8])
    one, two = (int(np.flatnonzero(world.niche_I == niche)[0]) for niche in (liked, other))
    found = measures(
        tmp_path,
        (7, one, "explicit", 0, "save"),
        (7, two, "implicit", None, None),  # a candidate that was not shown
        (8, two, "implicit", 0, None),
        (8, one, "explicit", None, None),
        (9, two, "popular", 1, "click"),
        both=(True, True, False, False, False),
    )
    touched = [weight_UK[user, niche_UK[user] == niche].sum() for user, niche in ((7, liked), (8, other), (9, other))]
    assert found["tastes"] == pytest.approx(sum(touched) / 3)
    assert touched[0] > 0.1
    assert touched[1] == 0
    there = int((world.created_I <= 2).sum())
    assert there < 300  # some are not born yet
    assert found["catalogue"] == pytest.approx(2 / there)
    assert found["top 1 %"] == pytest.approx(1 if round(there / 100) > 1 else 2 / 3)
    assert found["degraded"] == pytest.approx(2 / 5)
    assert found["overlap"] == pytest.approx(1 / 2)  # of the explicit candidates
    assert found["candidates, explicit"] == pytest.approx(2 / 5)
    assert found["shown, implicit"] == pytest.approx(1 / 3)
    assert found["saves, explicit"] == 1
    assert "saves, popular" not in found


def test_a_source_absent_from_one_world_has_share_zero_there_and_without_explicit_ones_there_is_no_overlap(tmp_path):
    for seed, source in ((0, "popular"), (1, "explicit")):
        logs = tmp_path / f"seed-{seed}" / "arms" / "a" / "logs" / "served"
        logs.mkdir(parents=True)
        table, no = pl.DataFrame([(7, 1, source, 0, None)], schema=LOG, orient="row"), pl.lit(value=False)
        table.with_columns(both=no, degraded=no).write_parquet(logs / day_file_name(2))
    found = impression_metrics(ExperimentConfig.model_validate(SETTINGS | {"seeds": [0, 1]}), tmp_path)
    shown = {measure: value for _, measure, value in found.iter_rows() if measure.startswith("shown, ")}
    assert shown == {"shown, explicit": 0.5, "shown, popular": 0.5}
    measured = measures(tmp_path / "other", (7, 1, "popular", 0, None), both=(False,))
    assert "overlap" not in measured
    assert measured["shown, popular"] == 1
