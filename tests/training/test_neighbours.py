"""The neighbours of a trained run: they help where co-occurrence tells, and are left out where they do not."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from multitudes.batches.held_out import held_out_users
from multitudes.cli.main import run
from multitudes.data.prepared import PreparedData
from multitudes.linear.interactions import interaction_matrix
from multitudes.linear.neighbour_fit import fit_rows
from multitudes.linear.neighbours import NeighbourFit, Neighbours
from multitudes.nn.methods import Method
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.run_record import read_record
from multitudes.training.config import RunConfig, TrainConfig, refit_config
from multitudes.training.loop import train
from multitudes.training.neighbours import RELATIVE_WEIGHTS, _JoinedLists, fit_run_neighbours
from multitudes.training.trained_run import TrainedRun, build_model
from multitudes.training.warm_start import continue_config


def config(method: Method = "joint", **model: object) -> RunConfig:
    settings = {"epochs": 1, "batch_size": 32, "in_batch": 64, "uniform": 32, "eval_k": 10, "item_init": "random"}
    tower = {"width": 16, "history": 10, "crossing": {"hidden": 0}, "neighbours": True} | model
    return RunConfig(
        method=method, model=UserTowerConfig.model_validate(tower), train=TrainConfig.model_validate(settings)
    )


def untrained(prepared: PreparedData, path: Path) -> TrainedRun:
    """Return a run whose tower knows nothing, so that only neighbours can find anything."""
    torch.manual_seed(0)
    settings = config()
    return TrainedRun(path, prepared, settings, build_model(prepared, settings.method, settings.model))


def test_where_co_occurrence_tells_neighbours_find_more_than_an_untrained_tower_and_shuffled_ones_little(
    prepared: PreparedData, tmp_path: Path
) -> None:
    lists = _JoinedLists(untrained(prepared, tmp_path), held_out_users(prepared, "validation"), 10)
    matrix = interaction_matrix(prepared)
    rows = fit_rows(matrix, NeighbourFit(ridge=10.0))
    order = np.append(0, 1 + np.random.default_rng(0).permutation(prepared.n_items)).astype(np.int32)
    shuffled = Neighbours(rows.offset_I, order[rows.item_E], rows.weight_E)
    true, other = (max(lists.hit_rates(one, 0.5, RELATIVE_WEIGHTS).values()) for one in (rows, shuffled))
    assert true > 1.5 * lists.tower_hit_rate
    assert other < 0.7 * true
    nothing = Neighbours(rows.offset_I * 0, rows.item_E[:0], rows.weight_E[:0])
    assert lists.judge(nothing, 0.5) == lists.tower_hit_rate


def test_a_tower_that_finds_as_much_alone_has_no_neighbours(prepared, tmp_path, monkeypatch):
    held, tower = held_out_users(prepared, "validation"), untrained(prepared, tmp_path)
    found = fit_run_neighbours(tower, held)
    assert found is not None
    assert found.source is not None
    monkeypatch.setattr(_JoinedLists, "hit_rates", lambda self, *_: {1.0: self.tower_hit_rate})
    found = fit_run_neighbours(tower, held)
    assert found is not None
    assert (found.source, found.hit_rate) == (None, found.record["tower_hit_rate"])


def test_they_are_not_fitted_where_nothing_chooses_them(prepared: PreparedData, tmp_path: Path) -> None:
    held = held_out_users(prepared, "validation")
    held = dataclasses.replace(held, target_is_first_time=np.zeros_like(held.target_is_first_time))
    assert fit_run_neighbours(untrained(prepared, tmp_path), held) is None
    final = config().model_copy(update={"final": True})
    assert train(prepared, final, tmp_path / "run").neighbours is None


def test_training_keeps_them_and_a_last_fit_and_a_warm_start_keep_their_settings(prepared, tmp_path):
    trained = train(prepared, config(), tmp_path / "run")
    record = read_record(tmp_path / "run")
    assert trained.neighbours is not None
    assert record["validation_hit_rate"] > record["neighbours"]["tower_hit_rate"]
    opened = TrainedRun.open(tmp_path / "run").neighbours
    assert opened is not None
    assert opened.weights == trained.neighbours.weights
    for one, other in zip(opened.rows, trained.neighbours.rows, strict=True):
        np.testing.assert_array_equal(one, other)

    last = train(prepared, refit_config(tmp_path / "run", 0), tmp_path / "last")
    assert last.neighbours is not None
    assert last.neighbours.weights == trained.neighbours.weights
    assert not np.array_equal(last.neighbours.rows.weight_E, trained.neighbours.rows.weight_E), "fitted on validation"

    settings = continue_config(tmp_path / "run", 0, None)
    assert settings.neighbour_fit == NeighbourFit.of(record["neighbours"])


def test_a_run_has_neighbours_only_where_its_settings_say_so(prepared: PreparedData, tmp_path: Path) -> None:
    train(prepared, config(neighbours=False), tmp_path / "run")
    assert not read_record(tmp_path / "run").get("neighbours")
    assert not refit_config(tmp_path / "run", 0).model.neighbours
    methods = ("joint", "transformer", "single", "clustering")
    has = {method: RunConfig(method=method).model.neighbours for method in methods}
    assert has == {"joint": True, "transformer": True, "single": False, "clustering": False}


def test_a_method_with_one_vector_can_have_them(prepared: PreparedData, tmp_path: Path) -> None:
    one = train(prepared, config("transformer"), tmp_path / "run")
    assert one.neighbours is not None
    assert one.list_defaults.shares["unconditioned"] == pytest.approx(1.0)


def test_the_outcome_names_what_the_tower_finds_alone(prepared, tmp_path, capsys):
    file = tmp_path / "small.toml"
    weak = "epochs = 1\nbatch_size = 32\nitem_init = 'random'"  # a tower that has something to gain
    file.write_text(f"[model]\nwidth = 16\nhistory = 10\n[train]\n{weak}\n")
    assert run(["train", str(prepared.path), "--out", str(tmp_path / "run"), "--config", str(file)]) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    printed, gain = capsys.readouterr().out, record["list"]["beyond_one_vector"]
    assert f"(tower alone {record['neighbours']['tower_hit_rate']:.4f})" in printed
    assert f"{record['calibration']:.0%} of it is divided among the user's tastes" in printed
    assert f"interests served {gain['served']:+.3f} (standard error {gain['served_error']:.3f})" in printed
