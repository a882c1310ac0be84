"""What was popular of late counts where the assortment changes, and only there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from multitudes.cli.main import run as command
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import TEST, TRAIN, VALIDATION, PreparedData
from multitudes.linear.fit import TRENDS, fit
from multitudes.linear.popularity import TREND_DAYS, popularity_trends
from multitudes.linear.run import LinearConfig, make_linear_run, refit_config
from multitudes.linear.validation import Validation
from multitudes.run_record import read_record
from tests.evaluation.worlds import prepared

USERS, ITEMS, EVENTS, DAYS, ON_SALE_DAYS, DAY_S = 150, 600, 40, 200, 60, 86_400


def shop(folder: Path, *, seasons: bool, times: bool = True) -> PreparedData:
    """Return users of a shop in which every item is on sale for some weeks, or always."""
    rng = np.random.default_rng(0)
    first_day_I = rng.uniform(-ON_SALE_DAYS, DAYS, ITEMS)
    day_UE = np.sort(rng.uniform(0, DAYS, (USERS, EVENTS)), axis=1)
    on_sale = (first_day_I <= day_UE[..., None]) & (day_UE[..., None] < first_day_I + ON_SALE_DAYS)
    if not seasons:
        on_sale[:] = True
    item_UE = np.where(on_sale, rng.random(on_sale.shape), 0).argmax(axis=2)
    time = (day_UE * DAY_S).astype(np.int64).ravel() if times else np.tile(np.arange(EVENTS), USERS)
    columns = {"user_id": np.repeat(np.arange(USERS), EVENTS), "item_id": item_UE.ravel(), "timestamp": time}
    folder.mkdir()
    pl.DataFrame(columns).write_parquet(folder / "events.parquet")
    pl.DataFrame({"item_id": np.arange(ITEMS), "topics": [["any"]] * ITEMS}).write_parquet(folder / "items.parquet")
    return prepare(folder, folder / "prepared", PrepareConfig(split="time" if times else "leave_one_out"))


@pytest.mark.parametrize("seasons", [True, False])
def test_the_trend_counts_where_the_assortment_changes_and_not_where_it_stays(tmp_path: Path, *, seasons: bool) -> None:
    data = shop(tmp_path / "shop", seasons=seasons)
    found = fit(data, 32, regularisation=30.0, judge=Validation.sample(data).hit_rate)
    own = found.chosen._replace(trend=0.0, hit_rate=None)
    rates = {one.trend: one.hit_rate or 0.0 for one in found.trials if one._replace(trend=0.0, hit_rate=None) == own}
    assert set(rates) == set(TRENDS)
    if seasons:
        assert found.chosen.trend > 0
        assert max(rates[trend] for trend in TRENDS[1:]) > 1.3 * rates[0.0]
    else:
        assert max(rates[trend] for trend in TRENDS[1:]) < 1.1 * rates[0.0]


def test_the_scores_of_an_item_are_multiplied_by_its_trend(tmp_path: Path) -> None:
    data = shop(tmp_path / "shop", seasons=True)
    settings = LinearConfig(rank=16, regularisation=30.0, normalisation=0.0, recency=0.0, trend=0.0)
    without = make_linear_run(data, tmp_path / "without", settings)
    run = make_linear_run(data, tmp_path / "run", settings.model_copy(update={"trend": 0.5}))
    expected_IR = without.linear.output_IR * np.sqrt(popularity_trends(data))[:, None]
    np.testing.assert_allclose(run.linear.output_IR, expected_IR, rtol=1e-5)
    np.testing.assert_array_equal(run.linear.input_IR, without.linear.input_IR)
    assert read_record(run.path)["trend"] == 0.5


def test_a_refit_has_the_chosen_trend_of_the_days_before_it(tmp_path: Path) -> None:
    data = shop(tmp_path / "shop", seasons=True)
    settings = LinearConfig(rank=16, regularisation=30.0, normalisation=0.0, recency=0.0)
    run = make_linear_run(data, tmp_path / "run", settings)
    chosen = read_record(run.path)["trend"]
    assert chosen > 0
    final = make_linear_run(data, tmp_path / "final", refit_config(run.path), final=True)
    plain = make_linear_run(data, tmp_path / "plain", settings.model_copy(update={"trend": 0.0}), final=True)
    trend_I = popularity_trends(data, include_validation=True)
    assert not np.allclose(trend_I, popularity_trends(data), atol=0.1)
    np.testing.assert_allclose(final.linear.output_IR, plain.linear.output_IR * trend_I[:, None] ** chosen, rtol=1e-5)


def test_an_item_rises_by_its_distinct_users_of_the_last_days(tmp_path: Path) -> None:
    late = (TREND_DAYS + 9) * DAY_S
    past = [[1, 1, 2], [1, 3], [2, 3, 3], [1, 4]]
    times = [[0, late, late], [5, late, late], [0, late - 5, late, late], [0, 9, late + 1]]
    data = prepared(tmp_path, past, [[], [4], [4], [4]], [[1]] * 4, times=[np.array(row) for row in times])
    users_I, recent_I = np.array([0, 3, 2, 2, 1]), np.array([0, 1, 1, 2, 0])
    expected_I = (recent_I + 3) / (users_I * 4 / 8 + 3)
    np.testing.assert_allclose(popularity_trends(data), expected_I, rtol=1e-6)
    with_validation = replace(data, event_split=np.where(data.event_split == TEST, VALIDATION, TRAIN).astype(np.uint8))
    assert popularity_trends(with_validation, include_validation=True)[4] > 1.1
    assert popularity_trends(data)[4] < 1


def test_a_trend_needs_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = shop(tmp_path / "shop", seasons=True, times=False)
    call = ["train", str(data.path), "--method", "linear", "--out", str(tmp_path / "run")]
    assert command([*call, "--set", "linear.trend=0.5"]) != 0
    assert "has no times, only an order" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert command(call) == 0
    assert read_record(tmp_path / "run")["trend"] == 0.0
