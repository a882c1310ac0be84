"""``preference``: what is printed, what JSON holds, and what is refused."""

import json

import polars as pl

from multitudes.cli.main import run
from tests.lab.experiments.test_interleaving import planted


def test_a_person_and_a_program_read_which_arm_is_preferred(tmp_path, capsys):
    planted(0.3).write_csv(tmp_path / "credits.csv")
    assert run(["preference", str(tmp_path / "credits.csv"), "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (credit, sides) = [line.split() for line in lines[:-1] if line.strip().startswith("saves, new")]
    assert credit[2].startswith("+")
    assert credit[-4:] == ["up,", "at", "any", "look"]
    assert max(len(line) for line in lines[:-1]) <= 80
    said = json.loads(lines[-1])
    assert said["control"] == "control"
    assert said["metrics"]["saves"]["new"]["low"] > 0
    test = said["sides"]["saves"]["new"]
    assert test["arm"] > test["control"]
    assert sides[2:5] == [f"{test[side]:,}" for side in ("arm", "control", "alike")]


def test_arms_may_be_numbers_and_are_needed(tmp_path, capsys):
    frame = planted(0.3).with_columns(arm=pl.when(pl.col("arm") == "new").then(2).otherwise(1))
    frame.write_parquet(tmp_path / "credits.parquet")
    assert run(["preference", str(tmp_path / "credits.parquet"), "--control", "1"]) == 0
    shown = capsys.readouterr().out
    assert "credit against 1" in shown
    assert "saves, 2" in shown
    frame.drop("arm").write_parquet(tmp_path / "credits.parquet")
    assert run(["preference", str(tmp_path / "credits.parquet")]) == 3
    assert "no column 'arm'" in capsys.readouterr().err
