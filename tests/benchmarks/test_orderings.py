"""The page of the orderings says what is kept, and no more."""

import json
import shutil
import sys
from typing import Any

import pytest
from benchmarks.machine import ROOT
from benchmarks.simulate import orderings
from benchmarks.simulate.orderings import CLAIMS, RESULTS, Claim
from benchmarks.simulate.orderings_page import PAGE, RECORD, came_back, lift_text, page, record_page

from multitudes_lab.simulation.config import ExperimentConfig, read_experiment
from multitudes_lab.simulation.results import collect_results
from multitudes_lab.simulation.run import simulate


def test_the_page_is_that_of_what_is_kept():
    record = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert PAGE.read_text(encoding="utf-8") == page(record)
    assert RECORD.read_text(encoding="utf-8") == record_page(record)
    record["worlds"]["default"]["lifts"]["joint / single"]["feed_saves, everybody"]["lift"] = 0.99
    assert PAGE.read_text(encoding="utf-8") != page(record)


def test_every_claim_is_about_arms_of_the_example():
    arms = read_experiment(ROOT / "examples" / "orderings.toml").arms
    assert {arm for claim in CLAIMS for arm in (claim.arm, claim.control)} <= arms.keys()


def test_an_ordering_came_back_only_where_its_interval_leaves_zero_out():
    better, worse = Claim("", "a", "b", ""), Claim("", "a", "b", "", better=False)
    up, down, wide = ({"lift": (a + b) / 2, "low": a, "high": b} for a, b in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.2)))
    assert [came_back(better, one) for one in (up, down, wide)] == ["yes", "**the other way round**", "not shown"]
    assert [came_back(worse, one) for one in (up, down, wide)] == ["**the other way round**", "yes", "not shown"]
    assert lift_text(wide) == "+5.0 [−10.0, +20.0]"
    assert lift_text({"lift": None, "low": None, "high": None}) == "–"


def called(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["orderings", *map(str, arguments)])
    orderings.main()


WORLD = {"users": 100, "items": 200, "topics": 10, "niches": 20}
LOOP = {"past_days": 5, "bootstrap_days": 1, "days": 1, "candidates": 20, "slots": 10}
SIMULATED = {
    "world": WORLD,
    "loop": LOOP,
    "arms": {"single": {"policy": "popular"}, "clustering": {"policy": "followed"}, "mind": {"policy": "followed"}},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return the folders of an experiment in four worlds."""
    changed: dict[str, dict[str, Any]] = {
        "default": {},
        "other-topics": {"world": WORLD | {"topic_noise": 1.0}},
        "overlapping": {"world": WORLD | {"overlap": 0.5}},
        "learns": {"loop": LOOP | {"ranker": "learns"}},
    }
    places = {}
    for name, settings in changed.items():
        config, places[name] = ExperimentConfig.model_validate(SIMULATED | settings), tmp_path_factory.mktemp(name)
        simulate(config, places[name])
        collect_results(config, places[name])
    return places


def test_several_folders_are_one_table_and_other_worlds_stay_as_they_were_measured(folders, tmp_path, monkeypatch):
    kept = tmp_path / "kept.json"
    called(monkeypatch, folders["other-topics"], "--out", kept)
    before = json.loads(kept.read_text())["worlds"]
    called(monkeypatch, folders["learns"], folders["default"], folders["overlapping"], "--out", kept)
    record = json.loads(kept.read_text())
    assert list(record["worlds"]) == ["default", "default, ranker learns", "overlapping tastes", "other topics"]
    assert record["worlds"]["other topics"] == before["other topics"]
    for world in record["worlds"].values():
        assert world["arms"] == ["single", "clustering", "mind"]
        assert world["lifts"].keys() == {"clustering / single", "mind / single", "clustering / mind"}
        assert {"when", "machine", "versions"} <= world.keys()
    lines = page(record).splitlines()
    assert f"| saves in the feed | {' | '.join(record['worlds'])} |" in lines
    row = next(line for line in lines if line.startswith("| `clustering` |"))
    shown = record["worlds"]["overlapping tastes"]["lifts"]["clustering / single"]["feed_saves, everybody"]
    assert lift_text(shown) in row
    assert row.count("[") == 4


def test_an_experiment_of_before_is_read_unless_it_set_what_is_a_constant_now(folders, tmp_path, monkeypatch, capsys):
    old, kept = tmp_path / "old", tmp_path / "kept.json"
    shutil.copytree(folders["default"], old)
    settings = json.loads((old / "experiment.json").read_text())
    settings["world"] |= {"kinship": 0.1, "lapse_days": 21}
    del settings["world"]["overlap"], settings["loop"]["ranker"]
    (old / "experiment.json").write_text(json.dumps(settings))
    called(monkeypatch, old, "--out", kept)
    settings["world"]["kinship"] = 0.2
    (old / "experiment.json").write_text(json.dumps(settings))
    with pytest.raises(SystemExit):
        called(monkeypatch, old, "--out", kept)
    assert "[world] kinship can no longer be set" in capsys.readouterr().err


def test_two_folders_of_one_world_are_rejected(folders, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        called(monkeypatch, folders["default"], folders["default"], "--out", tmp_path / "kept.json")
    assert "a second experiment in the world 'default'" in capsys.readouterr().err
