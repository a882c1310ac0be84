"""Days of a daily training: what is asked for comes after what is known, and items move where they are said to."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from benchmarks.daily import days as cut
from benchmarks.daily.arms import ARMS, PAIRS, _difference
from benchmarks.daily.days import prepare_days, write_planted_world
from benchmarks.daily.page import section

from multitudes.data.planted import PlantedConfig

WEEK_S = 7 * 86_400


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("worlds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cut, "WORLD", PlantedConfig(users=60, items=120, events=3_000, niches=12, topics=4, days=70))
        return tuple(
            write_planted_world(folder / name, 3, WEEK_S, moves=name == "moving") for name in ("moving", "still")
        )  # type: ignore[return-value]


def test_each_day_is_the_test_of_what_came_before_it(worlds: tuple[Path, Path], tmp_path: Path) -> None:
    made = prepare_days(worlds[0], tmp_path, 3, WEEK_S)
    last = int(pl.read_parquet(worlds[0] / "events.parquet")["timestamp"].max())  # type: ignore[arg-type]
    for day, prepared in enumerate(made):
        test = prepared.event_time[prepared.event_split == 2]
        until = last - WEEK_S * (3 - day)
        assert prepared.event_time.max() <= until
        assert until - WEEK_S - 3600 < test.min()
        assert (prepared.event_time[prepared.event_split != 2] <= test.min()).all()


def test_items_move_within_their_topic_ever_more_from_day_to_day_and_never_before(worlds: tuple[Path, Path]) -> None:
    moving, still = (pl.read_parquet(world / "events.parquet") for world in worlds)
    topic = dict(pl.read_parquet(worlds[0] / "items.parquet").select("item_id", "topics").iter_rows())
    assert moving.drop("item_id").equals(still.drop("item_id"))
    time = moving["timestamp"].to_numpy()
    day = 3 - (time.max() - time) // WEEK_S
    differs = (moving["item_id"] != still["item_id"]).to_numpy()
    shares = [differs[day == one].mean() for one in range(1, 4)]
    assert not differs[day < 1].any(), "the control"
    assert 0 < shares[0] < shares[1] < shares[2]
    pairs = zip(moving["item_id"].to_list(), still["item_id"].to_list(), strict=True)
    assert all(topic[one] == topic[other] for one, other in pairs if topic[one] and topic[other])


def test_a_difference_is_of_all_days_of_a_user_together() -> None:
    found = pl.DataFrame(
        {
            "user_id": ["a", "b"] * 4,
            "arm": ["one"] * 4 + ["other"] * 4,
            "hits": [2, 1, 2, 1, 1, 1, 1, 1],
            "targets": [2] * 8,
        }
    )
    difference = _difference(found, "one", "other")
    assert (difference["mean"], difference["users"]) == (0.25, 2)
    assert difference["low"] == 0, "b alone gains nothing"
    assert np.isclose(difference["high"], 0.5)


def test_the_page_shows_each_record_with_its_intervals_and_its_cost() -> None:
    gain = {"mean": 0.01, "low": -0.002, "high": 0.022, "users": 50}
    record = {
        "users": 60,
        "days": 3,
        "length_days": 7.0,
        "budget": 20,
        "seeds": 3,
        "epochs_anew": 9,
        "learning_rate": 0.004,
        "when": "2030-01-01 00:00 UTC",
        "all": dict.fromkeys(ARMS, 0.25),
        "differences": {f"{arm} - {other}": gain for arm, other in PAIRS},
        "cpu_s": {"anew": 100.0, "continued": 4.0},
        "cost_of_continued": 0.04,
    }
    text = "\n".join(section({"daily": {"still": record}}))
    assert "| still | 20 | 50 of 60 | 3 × 7 days | 0.2500 |" in text
    assert text.count("+0.0100 (-0.0020 to +0.0220)") == 4
    assert "| 100 | 4 | 4.0% |" in text
