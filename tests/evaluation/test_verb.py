"""evaluate and report as commands, on a run trained on a planted world."""

import json

import pytest

from multitudes.cli.main import run
from multitudes.data.planted import PlantedConfig, plant, write_world
from tests.worlds import SMALL_TOML

SETTINGS = f"{SMALL_TOML}[evaluate]\nbudgets = [5, 20]\nmax_users = 40\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder with a trained run ``joint`` and the settings that it was trained with."""
    folder = tmp_path_factory.mktemp("planted")
    write_world(plant(PlantedConfig(users=60, items=240, events=2_400, niches=12, topics=6)), folder / "data")
    (folder / "settings.toml").write_text(SETTINGS)
    prepared, config = str(folder / "prepared"), str(folder / "settings.toml")
    assert run(["prepare", str(folder / "data"), "--out", prepared, "--split", "user"]) == 0
    assert run(["train", prepared, "--out", str(folder / "joint"), "--config", config]) == 0
    return folder


def arguments(trained, *more):
    return ["evaluate", str(trained / "joint"), "--config", str(trained / "settings.toml"), *more]


@pytest.mark.slow
def test_a_trained_run_is_evaluated_beside_its_controls_and_reported(trained, capsys):
    assert run(arguments(trained, "--json")) == 0
    printed = capsys.readouterr().out
    result = json.loads(printed.splitlines()[-1])
    assert result == json.loads((trained / "joint" / "evaluation-test.json").read_text())
    assert (result["method"], result["budget"], result["users"] <= 40) == ("joint", 20, True)
    expected = {"joint", "unconditioned", "implicit", "explicit", "averaged", "random_partition", "popularity"}
    assert expected <= set(result["methods"])
    assert "random_partition" in printed
    assert run(["report", str(trained / "joint"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["bytes"] == (trained / "joint" / "report.html").stat().st_size


@pytest.mark.slow
def test_a_run_compared_with_itself_has_no_difference(trained, capsys):
    assert run(arguments(trained, "--set", "evaluate.targets=new")) == 0
    assert run(arguments(trained, "--set", "evaluate.targets=new", "--against", str(trained / "joint"), "--json")) == 0
    (comparison,) = json.loads(capsys.readouterr().out.splitlines()[-1])["against"]
    assert {figure["mean"] for figure in comparison["differences"]["new"].values()} == {0}


@pytest.mark.slow
def test_a_missing_comparison_is_rejected_before_the_work(trained, capsys):
    assert run(arguments(trained, "--against", str(trained / "nowhere"))) == 4
    assert "nowhere: no evaluation here" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("name", "nearest"), [("all_budget", "; did you mean 'all_budgets'?"), ("age", "")])
def test_an_unknown_choice_is_one_line_and_nothing_is_written(trained, tmp_path, capsys, name, nearest):
    file, call = tmp_path / "wrong.toml", ["evaluate", str(trained / "joint")]
    file.write_text(f"[evaluate]\ncontrols = '{name}'\n")
    before = {file: file.read_bytes() for file in (trained / "joint").iterdir()}
    expected = "input should be 'none', 'main_budget' or 'all_budgets'"
    for more, source in (
        (["--config", str(file)], f"{file}: [evaluate]"),
        (["--set", f"evaluate.controls={name}"], "--set [evaluate]"),
    ):
        assert run([*call, *more]) == 2
        printed = capsys.readouterr()
        assert printed.err == f"multitudes: {source}: 'controls' = '{name}': {expected}{nearest}\n"
        assert printed.out == ""
    assert {file: file.read_bytes() for file in (trained / "joint").iterdir()} == before


def test_a_folder_that_is_not_a_run_is_rejected_in_one_line(tmp_path, capsys):
    assert run(["evaluate", str(tmp_path)]) == 4
    assert capsys.readouterr().err.splitlines() == [
        f"multitudes: {tmp_path}: no run here (run.json is missing); make one with: multitudes train"
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("budget = 5", "unknown key 'budget'; did you mean 'budgets'?"),
        ("budgets = []", "expected at least one whole number from 1"),
        ('budgets = "20"', "'budgets' = '20': expected a list, such as [1, 2] or ['a', 'b']"),
    ],
)
def test_a_wrong_setting_is_rejected_by_name(tmp_path, capsys, line, message):
    (tmp_path / "wrong.toml").write_text(f"[evaluate]\n{line}\n")
    assert run(["evaluate", str(tmp_path), "--config", str(tmp_path / "wrong.toml")]) == 2
    assert message in capsys.readouterr().err
