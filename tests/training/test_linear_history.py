"""The linear history of a trained run: it helps where the whole history tells, and is left out where it does not."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from multitudes.batches.held_out import held_out_users
from multitudes.batches.user_vectors import INTEREST_KINDS
from multitudes.cli.main import run
from multitudes.data.prepared import PreparedData
from multitudes.errors import UsageError
from multitudes.linear.factors import LinearFactors
from multitudes.linear.fit import Fit, Judge, fit
from multitudes.linear.history import HistoryWeights, LinearHistory
from multitudes.nn.methods import Method
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.run_record import read_record
from multitudes.training import linear_history
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.linear_history import add_linear_history, choose_weights
from multitudes.training.loop import train
from multitudes.training.run_config import continue_config, refit_config
from multitudes.training.trained_run import TrainedRun, build_model
from multitudes.training.validation import validate
from tests.worlds import planted

RANK = 8
ALL_KINDS = dict.fromkeys(INTEREST_KINDS, 1.0)


@pytest.fixture(scope="module")
def prepared() -> PreparedData:
    return planted()[1]


def config(method: Method = "joint", **linear: object) -> RunConfig:
    model = {"width": 16, "history": 10, "crossing": {"hidden": 0}, "linear": {"rank": RANK, **linear}}
    settings = {"epochs": 1, "batch_size": 32, "in_batch": 64, "uniform": 32, "eval_k": 10}
    return RunConfig(
        method=method, model=UserTowerConfig.model_validate(model), train=TrainConfig.model_validate(settings)
    )


def untrained(prepared: PreparedData, path: Path, linear: LinearHistory | None = None) -> TrainedRun:
    """Return a run whose tower knows nothing, so that only the linear history can find anything."""
    torch.manual_seed(0)
    settings = config()
    return TrainedRun(path, prepared, settings, build_model(prepared, settings.method, settings.model), linear)


def ease(prepared: PreparedData) -> LinearFactors:
    return fit(prepared, RANK, regularisation=10.0).factors


def hit_rates(prepared: PreparedData, path: Path, factors: LinearFactors) -> tuple[float, float]:
    """Return the hit rates of an untrained tower, and of the tower joined to a linear history of these factors."""
    held = held_out_users(prepared, "validation")
    alone = validate(untrained(prepared, path), held, np.arange(len(held)), 10).hit_rate
    joined = untrained(prepared, path, LinearHistory(factors, HistoryWeights(weight=ALL_KINDS)))
    chosen = choose_weights(joined, held, 10)
    assert chosen is not None
    return alone, chosen.hit_rate


def test_where_the_whole_history_tells_all_the_joined_vectors_find_what_ease_finds(
    prepared: PreparedData, tmp_path: Path
) -> None:
    alone, joined = hit_rates(prepared, tmp_path, ease(prepared))
    assert joined > 1.5 * alone


def test_control_shuffled_items_bring_little(prepared: PreparedData, tmp_path: Path) -> None:
    factors = ease(prepared)
    order = np.append(0, 1 + np.random.default_rng(0).permutation(prepared.n_items))
    _, true = hit_rates(prepared, tmp_path, factors)
    _, shuffled = hit_rates(prepared, tmp_path, LinearFactors(factors.input_IR, factors.output_IR[order]))
    assert shuffled < 0.7 * true


def test_a_tower_that_finds_as_much_alone_has_no_linear_history(
    prepared: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = held_out_users(prepared, "validation")
    joins, folder = tmp_path / "joins", tmp_path / "alone"
    joins.mkdir()
    folder.mkdir()
    joined = add_linear_history(untrained(prepared, joins), held, {"validation_hit_rate": 0.0})
    tower = untrained(prepared, folder)
    finds_as_much = joined["validation_hit_rate"]
    monkeypatch.setattr(linear_history._WeightedScores, "tower_hit_rate", lambda _: finds_as_much)
    changed = add_linear_history(tower, held, {"validation_hit_rate": finds_as_much})
    assert changed == {"linear": None}
    assert tower.linear is None
    assert not list(folder.iterdir())


def test_the_settings_of_the_fit_are_rated_with_the_tower(prepared: PreparedData, tmp_path: Path, monkeypatch) -> None:
    fits: list[tuple[Fit, Judge]] = []

    def watch(*settings, judge: Judge, **options) -> Fit:
        fits.append((fit(*settings, judge=judge, **options), judge))
        return fits[-1][0]

    monkeypatch.setattr(linear_history, "fit", watch)
    held = held_out_users(prepared, "validation")
    add_linear_history(untrained(prepared, tmp_path), held, {"validation_hit_rate": 1.0, "shares": {}})
    [(found, judge)] = fits
    nothing = LinearFactors(np.zeros_like(found.factors.input_IR), np.zeros_like(found.factors.output_IR))
    assert found.chosen.hit_rate
    assert judge(found.factors, found.chosen.recency) == found.chosen.hit_rate
    assert judge(nothing, 0.0) == 0.0


def test_users_without_a_first_time_target_choose_nothing(prepared: PreparedData, tmp_path: Path) -> None:
    held = held_out_users(prepared, "validation")
    held = dataclasses.replace(held, target_is_first_time=np.zeros_like(held.target_is_first_time))
    linear = LinearHistory(ease(prepared), HistoryWeights(weight=ALL_KINDS))
    assert choose_weights(untrained(prepared, tmp_path, linear), held, 10) is None


def test_training_joins_it_and_a_last_fit_and_a_warm_start_keep_its_weights(
    prepared: PreparedData, tmp_path: Path
) -> None:
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
    assert settings.linear_weights == trained.linear.weights


def test_the_trend_is_that_of_the_settings_and_a_last_fit_keeps_it(prepared: PreparedData, tmp_path: Path) -> None:
    trained = train(prepared, config(regularisation=10.0, normalisation=0.0, trend=0.5), tmp_path / "run")
    last = train(prepared, refit_config(tmp_path / "run", 0), tmp_path / "last")
    for found, is_last in ((trained, False), (last, True)):
        with_trend, without = (
            fit(prepared, RANK, regularisation=10.0, trend=trend, include_validation=is_last).factors.output_IR
            for trend in (0.5, 0.0)
        )
        assert found.linear is not None
        np.testing.assert_allclose(found.linear.output_IR, with_trend, atol=1e-5)
        assert not np.allclose(with_trend, without, atol=1e-3)
        assert read_record(found.path)["linear"]["trend"] == 0.5


def test_a_trend_of_data_without_times_is_refused_before_the_training(prepared: PreparedData, tmp_path: Path) -> None:
    ordered = dataclasses.replace(prepared, manifest=prepared.manifest | {"ordered_only": True})
    with pytest.raises(UsageError, match="no times"):
        train(ordered, config(trend=0.5), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_it_nothing_is_joined_later_either(prepared: PreparedData, tmp_path: Path) -> None:
    train(prepared, config(rank=0), tmp_path / "run")
    assert not read_record(tmp_path / "run").get("linear")
    assert refit_config(tmp_path / "run", 0).model.linear.rank == 0


def test_a_fit_on_validation_without_an_earlier_run_has_none(prepared: PreparedData, tmp_path: Path) -> None:
    settings = config()
    final = settings.model_copy(update={"train": settings.train.model_copy(update={"final": True})})
    assert train(prepared, final, tmp_path / "run").linear is None


def test_a_method_with_one_vector_can_have_it(prepared: PreparedData, tmp_path: Path) -> None:
    single = train(prepared, config("transformer"), tmp_path / "run")
    assert single.linear is not None
    assert single.shares["unconditioned"] == pytest.approx(1.0)


def test_joint_has_it_by_default_and_other_methods_do_not() -> None:
    ranks = {method: RunConfig(method=method).model.linear.rank for method in ("joint", "transformer", "clustering")}
    assert ranks == {"joint": 64, "transformer": 0, "clustering": 0}


def test_the_outcome_names_what_the_tower_finds_alone(
    prepared: PreparedData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "small.toml"
    weak = "epochs = 1\nbatch_size = 32\nitem_init = 'random'"  # a tower that has something to gain
    file.write_text(f"[model]\nwidth = 16\nhistory = 10\nlinear.rank = 8\n[train]\n{weak}\n")
    assert run(["train", str(prepared.path), "--out", str(tmp_path / "run"), "--config", str(file)]) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    printed, gain = capsys.readouterr().out, record["list"]["beyond_one_vector"]
    assert f"(tower alone {record['linear']['tower_hit_rate']:.4f})" in printed
    assert f"{record['calibration']:.0%} of the list is divided among the user's tastes" in printed
    assert f"interests served {gain['served']:+.3f} (standard error {gain['served_error']:.3f})" in printed
