"""Interleaving: drafted lists favour no arm, and a planted preference is found."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from multitudes.errors import DataError, UsageError
from multitudes_lab.experiments.config import ReadoutConfig
from multitudes_lab.experiments.interleaving import analyse_interleaving, team_draft
from multitudes_lab.experiments.summary import conclusion
from tests.lab.experiments.worlds import DAY, NOW, START

USERS = 1_000


def planted(gain: float, seed: int = 0) -> pl.DataFrame:
    """Return credits of users with individual rates; those of ``new`` are higher by a share of ``gain``."""
    draw = np.random.default_rng(seed)
    rate = draw.gamma(0.7, 3.0, USERS)
    rows = []
    for arm, mean in (("control", rate), ("new", rate * (1 + gain))):
        count = draw.poisson(mean)
        who = np.repeat(np.arange(USERS), count)
        when = START + draw.integers(5 * DAY, size=len(who))
        rows.append(pl.DataFrame({"user_id": who, "timestamp": when, "arm": arm, "metric": "saves", "value": 1.0}))
    return pl.concat(rows)


def read(frame: pl.DataFrame, folder: Path, **settings: object) -> Any:
    frame.write_parquet(folder / "credits.parquet")
    return analyse_interleaving(folder / "credits.parquet", ReadoutConfig.model_validate(settings), now=NOW)


def test_a_planted_preference_is_found_and_none_is_found_without_one(tmp_path):
    found = read(planted(0.2), tmp_path).metrics["saves"]["new"]
    assert found.significant
    assert found.sequential.significant
    assert found.low < 0.2 < found.high
    null = read(planted(0.0), tmp_path)
    assert not null.metrics["saves"]["new"].significant
    assert conclusion(null.metrics["saves"]["new"]) == "not significant"


def test_the_figures_are_those_of_the_users(tmp_path):
    frame = planted(0.1)
    of = read(frame, tmp_path)
    both = frame.pivot(on="arm", index="user_id", values="value", aggregate_function="sum").fill_null(0)
    control, new = both["control"].to_numpy(), both["new"].to_numpy()
    found = of.metrics["saves"]["new"]
    assert found.users_control == found.users_treatment == len(both) < USERS  # some save nothing
    assert found.lift == pytest.approx(new.mean() / control.mean() - 1)
    z = (new - control).mean() / ((new - control).std(ddof=1) / len(both) ** 0.5)
    assert (z > 1.96) == found.significant == (found.low > 0)
    sides, by_side = of.sides["saves"]["new"], ((new > control).sum(), (new < control).sum(), (new == control).sum())
    assert (sides.arm, sides.control, sides.alike) == by_side


def test_what_both_arms_share_of_a_user_adds_no_variance(tmp_path):
    """Control: if the users of one arm are taken for other users, the same rows say less."""
    frame = planted(0.1)
    apart = frame.with_columns(user_id=pl.col("user_id") + USERS * (pl.col("arm") == "new"))
    paired, unpaired = (read(one, tmp_path).metrics["saves"]["new"] for one in (frame, apart))
    assert unpaired.high - unpaired.low > 1.5 * (paired.high - paired.low)


def test_arms_are_compared_each_with_the_control_and_rows_that_cannot_be_used_are_counted(tmp_path):
    third = planted(0.0, seed=1).filter(arm="new").with_columns(arm=pl.lit("third"))
    bad = pl.DataFrame(
        {"user_id": [1, 1], "timestamp": [START, START], "arm": [None, "new"], "metric": "saves", "value": [1.0, -1.0]},
        schema=third.schema,
    )
    only = planted(0.0).filter(arm="new").with_columns(metric=pl.lit("hides"))
    of = read(pl.concat([planted(0.2), third, bad, only]), tmp_path)
    assert of.metrics["saves"].keys() == of.sides["saves"].keys() == {"new", "third"}
    assert of.metrics["hides"]["new"].lift is None
    assert "0 for the control" in conclusion(of.metrics["hides"]["new"])
    assert of.metrics["saves"]["new"].p_holm >= of.metrics["saves"]["new"].p
    assert of.repairs == {"credits_without_arm": 1, "negative_outcomes": 1}


@pytest.mark.parametrize(
    ("arms", "settings", "error", "said"),
    [
        (["new", "new"], {}, DataError, "the only arm is 'new'; expected a control"),
        ([None, None], {}, DataError, "no row credits an arm"),
        (["control", "new"], {"control": "contrl"}, UsageError, "did you mean 'control'"),
        (["old", "new"], {}, UsageError, "no arm is called 'control'"),
        (["control", "new"], {"metrics": ("savs",)}, UsageError, "did you mean 'saves'"),
    ],
)
def test_credits_that_cannot_be_compared_are_rejected(arms, settings, error, said, tmp_path):
    row = {"user_id": [1, 2], "timestamp": START, "arm": pl.Series(arms, dtype=pl.String), "metric": "saves"}
    with pytest.raises(error, match=said):
        read(pl.DataFrame(row).with_columns(value=pl.lit(1.0)), tmp_path, **settings)


APART = {"a": list(range(10)), "b": list(range(100, 110))}
SHARED = {"a": [1, 2, 3, 4, 5], "b": [3, 1, 9, 2, 7]}


def drafts(rankings, n: int, times: int = 2_000) -> list[dict[int, str]]:
    generator = np.random.default_rng(0)
    return [team_draft(rankings, n, generator) for _ in range(times)]


def test_every_round_has_the_best_remaining_pick_of_each_arm():
    for drafted in drafts(SHARED, 4, 200):
        picked: list[int] = []
        for item, arm in drafted.items():
            assert item == next(one for one in SHARED[arm] if one not in picked)
            picked.append(item)
        teams = list(drafted.values())
        assert {*teams[:2]} == {*teams[2:]} == {"a", "b"}
    assert len({tuple(drafted) for drafted in drafts(SHARED, 4, 200)}) > 2  # the order is drawn


@pytest.mark.parametrize("n", [1, 4, 5])
def test_each_arm_is_equally_often_in_each_place(n):
    by_place = [Counter(list(drafted.values())[place] for drafted in drafts(APART, n)) for place in range(n)]
    assert all(abs(found["a"] - found["b"]) < 200 for found in by_place)  # four and a half deviations
    assert all(sum(found.values()) == 2_000 for found in by_place)


def test_arms_are_drafted_fairly_however_many_there_are_and_whatever_list_ends():
    of_three = drafts(APART | {"c": list(range(200, 210))}, 9)
    assert all(Counter(one.values()) == {"a": 3, "b": 3, "c": 3} for one in of_three)
    first = Counter(next(iter(one.values())) for one in of_three)
    assert min(first.values()) > 550
    for drafted in drafts({"a": [5, 6, 7, 8], "b": [5, 6, 7, 8]}, 4, 50):
        assert list(drafted) == [5, 6, 7, 8]
        assert sorted(drafted.values()) == ["a", "a", "b", "b"]
    for drafted in drafts({"a": [1], "b": [2, 3, 4]}, 4, 50):
        assert sorted(drafted.values()) == ["a", "b"]
    assert team_draft({"a": [], "b": []}, 4, np.random.default_rng(0)) == {}
