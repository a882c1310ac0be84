"""``readout`` and ``power``: what is printed, what JSON holds, and what is refused."""

import json
import re
from typing import Any

import pytest

from multitudes.cli.main import run
from tests.lab.experiments.worlds import plant


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> list[str]:
    return [str(file) for file in plant(3_000, cohort_lift=0.5).write(tmp_path_factory.mktemp("experiment"))]


def last_line(capsys) -> Any:
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert isinstance(record, dict)
    return record


def test_the_last_line_holds_what_other_programs_ask_for(tables, capsys):
    assert run(["readout", *tables, "--metric", "saves", "--metric", "saves/sessions", "--json"]) == 0
    said = last_line(capsys)
    assert set(said["srm"]) >= {"p", "ok"}
    assert said["srm"]["ok"] is True
    assert list(said["metrics"]) == ["saves", "saves/sessions"]
    one = said["metrics"]["saves"]["treatment"]
    assert set(one) >= {"control", "treatment", "lift", "low", "high", "p", "significant", "sequential"}
    assert set(one["sequential"]) >= {"low", "high", "significant"}
    assert one["lift"] == pytest.approx(one["treatment"] / one["control"] - 1)
    assert one["sequential"]["low"] < one["low"] < one["lift"] < one["high"] < one["sequential"]["high"]
    assert set(said["cohorts"]) == {"core", "new"}
    assert said["cohorts"]["new"]["saves"]["treatment"]["significant"]


@pytest.mark.parametrize("width", ["80", "110"])
def test_a_person_reads_what_moved_and_for_whom(width, tables, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", width)
    options = ["--metric", "saves", "--winsorise", "0.999", "--ratio", "control=1,treatment=1"]
    assert run(["readout", *tables, *options]) == 0
    out = capsys.readouterr().out
    assert "arms as planned" in out
    assert "the lift differs between cohorts" in out
    words = " ".join(out.split())
    assert "winsorised: saves: saves since the exposure above" in words
    assert "outcomes before the user's exposure" in words
    assert "…" not in out  # nothing is cut off


def test_days_can_be_read_however_many_metrics_there_are(tables, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    metrics = ["saves", "sessions", "saves/sessions", "sessions/saves", "saves/saves"]
    assert run(["readout", *tables, *(word for metric in metrics for word in ("--metric", metric))]) == 0
    shown = capsys.readouterr().out.partition("by days since")[2].partition("not shown to")[0]
    assert all(f" {metric} " in shown for metric in metrics)
    assert len(re.findall(r"[+-]\d+\.\d\d \[[+-]\d+\.\d\d, [+-]\d+\.\d\d\] *\n", shown)) >= 4 * 3  # whole, on a line


def test_arms_that_are_not_as_planned_come_before_everything(tables, tmp_path, capsys):
    page = tmp_path / "readout.html"
    options = ["--metric", "saves", "--ratio", "control=9,treatment=1", "--report", str(page), "--json"]
    assert run(["readout", *tables, *options]) == 0
    said = last_line(capsys)
    assert page.read_text().index("Sample ratio mismatch: do not trust") < page.read_text().index("<table>")
    assert said["srm"]["ok"] is False
    assert said["verdict"][0].startswith("Sample ratio mismatch: do not trust")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ratio", "half"], "expected the share of each arm"),
        (["--winsorise", "2"], "'winsorise' = 2.0"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(options, said, tables, capsys):
    assert run(["readout", *tables, *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_power_from_figures_and_from_the_past(tables, capsys):
    assert run(["power", "--mean", "10", "--sd", "5", "--effect", "0.001", "--json"]) == 0
    said = last_line(capsys)
    assert said["once"]["users_per_arm"] == pytest.approx(15.7 * 25 / 0.01**2, rel=0.01)
    assert said["sequential"]["users_per_arm"] > said["once"]["users_per_arm"]
    past = ["--exposures", tables[0], "--outcomes", tables[1], "--metric", "saves"]
    assert run(["power", *past, "--users", "5000", "--json"]) == 0
    said = last_line(capsys)
    assert 0 < said["once"]["effect"] < said["sequential"]["effect"] < 1
    assert said["past"]["explained"] > 0.5


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("--mean 1 --sd 1", "give --effect"),
        ("--mean 1 --sd 1 --effect 0.1 --users 10", "give --effect"),
        ("--effect 0.1", "give --mean and --sd"),
        ("--mean 1 --sd 1 --effect -0.1", "expected a relative lift above 0"),
        ("--mean 0 --sd 1 --effect 0.1", "expected a mean other than 0"),
        ("--mean 1 --sd 50 --users 5", "show no lift at all"),
        ("--mean 1 --sd 1 --effect 0.1 --power 80", "expected a share between 0 and 1"),
    ],
)
def test_power_says_what_it_lacks(call, said, capsys):
    assert run(["power", *call.split()]) == 2
    assert said in capsys.readouterr().err
