"""The page of the orderings says what is kept, and no more."""

import json
import sys

import pytest
from benchmarks.machine import ROOT
from benchmarks.simulate import orderings
from benchmarks.simulate.orderings import CLAIMS, RESULTS, Claim
from benchmarks.simulate.orderings_page import came_back, said, written_into

from multitudes.simulation.config import ExperimentConfig, read_experiment
from multitudes.simulation.results import collect_results
from multitudes.simulation.run import simulate


def test_the_documents_tables_are_those_of_what_is_kept():
    page = (ROOT / "records" / "simulated-world.md").read_text(encoding="utf-8")
    assert written_into(page, json.loads(RESULTS.read_text(encoding="utf-8"))) == page


def test_every_claim_is_about_arms_of_the_example():
    arms = read_experiment(ROOT / "examples" / "orderings.toml").arms
    assert {arm for claim in CLAIMS for arm in (claim.arm, claim.control)} <= arms.keys()


def test_an_ordering_came_back_only_where_its_interval_leaves_zero_out():
    better, worse = Claim("", "a", "b", ""), Claim("", "a", "b", "", better=False)
    up, down, wide = ({"lift": (a + b) / 2, "low": a, "high": b} for a, b in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.2)))
    assert [came_back(better, one) for one in (up, down, wide)] == ["yes", "**the other way round**", "not shown"]
    assert [came_back(worse, one) for one in (up, down, wide)] == ["**the other way round**", "yes", "not shown"]
    assert said(wide) == "+5.0 [−10.0, +20.0]"
    assert said({"lift": None, "low": None, "high": None}) == "–"


def called(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["orderings", *map(str, arguments)])
    orderings.main()


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["T/nothing"], 2), ([], 2)])
def test_who_gives_no_experiment_loses_nothing_of_the_record(arguments, code, tmp_path, monkeypatch, capsys):
    kept = tmp_path / "kept.json"
    kept.write_text('{"worlds": {}}')
    with pytest.raises(SystemExit) as ended:
        called(monkeypatch, *(one.replace("T", str(tmp_path)) for one in arguments), "--out", kept)
    assert ended.value.code == code
    assert kept.read_text() == '{"worlds": {}}'
    assert "Traceback" not in capsys.readouterr().err


def test_worlds_that_are_not_beside_the_folder_stay_as_they_were_measured(tmp_path, monkeypatch):
    config = ExperimentConfig.model_validate(
        {
            "world": {"users": 100, "items": 200, "topics": 10, "niches": 20},
            "loop": {"past_days": 5, "bootstrap_days": 1, "days": 1, "candidates": 20, "slots": 10},
            "arms": {"single": {"policy": "popular"}, "clustering": {"policy": "followed"}},
        }
    )
    kept, folder = tmp_path / "kept.json", tmp_path / "lived"
    kept.write_text('{"worlds": {"the world": "old", "one taste": "old", "empty follows": "old"}}')
    for place in (folder, tmp_path / "lived-empty-follows"):
        simulate(config, place)
        collect_results(config, place)
    called(monkeypatch, folder, "--out", kept)
    worlds = json.loads(kept.read_text())["worlds"]
    assert worlds["one taste"] == "old"
    for name in ("the world", "empty follows"):
        assert worlds[name]["arms"] == ["single", "clustering"]
        assert worlds[name]["lifts"].keys() == {"clustering / single"}
        assert {"when", "machine", "versions"} <= worlds[name].keys()
