"""The linear history of a trained run: it helps where the whole history tells, and is left out where it does not."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from multitudes.batches.held_out import held_out_users
from multitudes.cli.main import run
from multitudes.data.prepared import PreparedData
from multitudes.linear.ease import EaseSpectrum
from multitudes.linear.fit import Fit, Judge, fit
from multitudes.linear.history import LinearFactors
from multitudes.linear.interactions import interaction_matrix
from multitudes.nn.methods import Method
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.run_record import read_record
from multitudes.training import linear_history
from multitudes.training.config import RunConfig, TrainConfig, refit_config
from multitudes.training.linear_history import _JoinedLists, fit_linear_history
from multitudes.training.loop import train
from multitudes.training.trained_run import TrainedRun, build_model
from multitudes.training.warm_start import continue_config

RANK = 8


def config(method: Method = "joint", **linear: object) -> RunConfig:
    model = {"width": 16, "history": 10, "crossing": {"hidden": 0}, "linear": {"rank": RANK, **linear}}
    settings = {"epochs": 1, "batch_size": 32, "in_batch": 64, "uniform": 32, "eval_k": 10}
    return RunConfig(
        method=method, model=UserTowerConfig.model_validate(model), train=TrainConfig.model_validate(settings)
    )


def untrained(prepared: PreparedData, path: Path) -> TrainedRun:
    """Return a run whose tower knows nothing, so that only the linear history can find anything."""
    torch.manual_seed(0)
    settings = config()
    return TrainedRun(path, prepared, settings, build_model(prepared, settings.method, settings.model))


def ease(prepared: PreparedData) -> LinearFactors:
    return EaseSpectrum(interaction_matrix(prepared), RANK).factors(10.0)


def hit_rates(prepared: PreparedData, path: Path, factors: LinearFactors) -> tuple[float, float]:
    """Return the hit rates of an untrained tower, and of the tower joined to a linear history of these factors."""
    held = held_out_users(prepared, "validation")
    lists = _JoinedLists(untrained(prepared, path), held, 10)
    return lists.tower_hit_rate(), lists.choose_weight(factors, 0.0)[1]


def test_where_the_whole_history_tells_all_joined_vectors_find_what_ease_finds_and_of_shuffled_items_little(
    prepared: PreparedData, tmp_path: Path
) -> None:
    alone, joined = hit_rates(prepared, tmp_path, ease(prepared))
    assert joined > 1.5 * alone
    factors = ease(prepared)
    order = np.append(0, 1 + np.random.default_rng(0).permutation(prepared.n_items))
    _, true = hit_rates(prepared, tmp_path, factors)
    _, shuffled = hit_rates(prepared, tmp_path, LinearFactors(factors.input_IR, factors.output_IR[order]))
    assert shuffled < 0.7 * true


def test_a_tower_that_finds_as_much_alone_has_no_linear_history(prepared, tmp_path, monkeypatch):
    held, tower = held_out_users(prepared, "validation"), untrained(prepared, tmp_path)
    joined = fit_linear_history(tower, held)
    assert joined is not None
    monkeypatch.setattr(_JoinedLists, "tower_hit_rate", lambda _: joined.hit_rate)
    assert fit_linear_history(tower, held) is None
    assert tower.linear is None


def test_the_settings_of_the_fit_are_rated_with_the_tower(prepared: PreparedData, tmp_path: Path, monkeypatch) -> None:
    fits: list[tuple[Fit, Judge]] = []

    def watch(prepared, rank: int, judge: Judge, **options) -> Fit:
        fits.append((fit(prepared, rank, judge, **options), judge))
        return fits[-1][0]

    monkeypatch.setattr(linear_history, "fit", watch)
    held = held_out_users(prepared, "validation")
    fit_linear_history(untrained(prepared, tmp_path), held)
    [(found, judge)] = fits
    nothing = LinearFactors(np.zeros_like(found.factors.input_IR), np.zeros_like(found.factors.output_IR))
    assert found.hit_rate
    assert judge(found.factors, found.chosen.recency) == found.hit_rate
    assert judge(nothing, 0.0) == 0.0


def test_it_is_not_fitted_where_nothing_chooses_it(prepared: PreparedData, tmp_path: Path) -> None:
    held = held_out_users(prepared, "validation")
    held = dataclasses.replace(held, target_is_first_time=np.zeros_like(held.target_is_first_time))
    assert fit_linear_history(untrained(prepared, tmp_path), held) is None
    settings = config()
    assert train(prepared, settings.model_copy(update={"final": True}), tmp_path / "run").linear is None


def test_training_joins_it_and_a_last_fit_and_a_warm_start_keep_its_weights(prepared, tmp_path):
    trained = train(prepared, config(), tmp_path / "run")
    record = read_record(tmp_path / "run")
    assert trained.linear is not None
    assert trained.item_vectors().shape == (prepared.n_items + 1, 16 + RANK)
    assert record["validation_hit_rate"] > record["linear"]["tower_hit_rate"]

    last = train(prepared, refit_config(tmp_path / "run", 0), tmp_path / "last")
    assert last.linear is not None
    assert last.linear.weights == trained.linear.weights
    assert read_record(tmp_path / "last")["linear"]["regularisation"] == record["linear"]["regularisation"]
    assert not np.array_equal(last.linear.output_IR, trained.linear.output_IR), "it is fitted on validation too"

    settings = continue_config(tmp_path / "run", 0, None)
    assert settings.linear_fit is not None
    assert settings.linear_fit.weight == trained.linear.weights.weight


def test_a_run_has_a_linear_history_only_where_its_settings_say_so(prepared: PreparedData, tmp_path: Path) -> None:
    train(prepared, config(rank=0), tmp_path / "run")
    assert not read_record(tmp_path / "run").get("linear")
    assert refit_config(tmp_path / "run", 0).model.linear.rank == 0
    ranks = {method: RunConfig(method=method).model.linear.rank for method in ("joint", "transformer", "clustering")}
    assert ranks == {"joint": 64, "transformer": 0, "clustering": 0}


def test_a_method_with_one_vector_can_have_it(prepared: PreparedData, tmp_path: Path) -> None:
    single = train(prepared, config("transformer"), tmp_path / "run")
    assert single.linear is not None
    assert single.list_defaults.shares["unconditioned"] == pytest.approx(1.0)


def test_the_outcome_names_what_the_tower_finds_alone(prepared, tmp_path, capsys):
    file = tmp_path / "small.toml"
    weak = "epochs = 1\nbatch_size = 32\nitem_init = 'random'"  # a tower that has something to gain
    file.write_text(f"[model]\nwidth = 16\nhistory = 10\nlinear.rank = 8\n[train]\n{weak}\n")
    assert run(["train", str(prepared.path), "--out", str(tmp_path / "run"), "--config", str(file)]) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    printed, gain = capsys.readouterr().out, record["list"]["beyond_one_vector"]
    assert f"(tower alone {record['linear']['tower_hit_rate']:.4f})" in printed
    assert f"{record['calibration']:.0%} of it is divided among the user's tastes" in printed
    assert f"interests served {gain['served']:+.3f} (standard error {gain['served_error']:.3f})" in printed
