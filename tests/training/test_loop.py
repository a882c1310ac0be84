"""The training loop on a small planted world: deterministic, interruptible, resumable, honest about NaN."""

import dataclasses
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from multitudes.batches.held_out import held_out_users, select_users
from multitudes.cli.main import run
from multitudes.data.prepared import PreparedData
from multitudes.errors import ArtefactError, MultitudesError, UsageError
from multitudes.nn.methods import Method
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.run_record import append_metrics, write_record
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.execution import ExecutionConfig
from multitudes.training.loop import fit, train, training_examples
from multitudes.training.run_folder import lock_run
from multitudes.training.trained_run import TrainedRun
from tests.flushing import Flushing
from tests.worlds import planted

_MAIN = "from multitudes.cli.main import main; main()"


def config(method: Method = "joint", seed: int = 0, **train_settings: object) -> RunConfig:
    """Return small settings; what is fitted after the last epoch has tests of its own."""
    small = {"width": 16, "history": 20, "crossing": {"hidden": 32}, "neighbours": False}
    model = UserTowerConfig.model_validate(small)
    settings = {"epochs": 2, "batch_size": 32, "in_batch": 64, "uniform": 32, "learning_rate": 0.01} | train_settings
    return RunConfig(method=method, seed=seed, model=model, train=TrainConfig.model_validate(settings))


@pytest.fixture(scope="module")
def whole(prepared: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of the settings above that nothing interrupted; a test that changes it takes a copy."""
    out: Path = tmp_path_factory.mktemp("trained") / "run"
    train(prepared, config(), out)
    return out


def same_weights(one: Path, other: Path) -> bool:
    first, second = load_file(one / "weights.safetensors"), load_file(other / "weights.safetensors")
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_another_seed_gives_other_weights(prepared: PreparedData, whole: Path, tmp_path: Path) -> None:
    """That the same seed gives the same ones is shown in test_methods."""
    train(prepared, config(seed=1), tmp_path / "run")
    assert not same_weights(whole, tmp_path / "run")


@pytest.mark.slow
def test_another_process_trains_the_identical_weights_and_vectors(prepared: PreparedData, tmp_path: Path) -> None:
    settings = tmp_path / "multitudes.toml"
    settings.write_text("[model]\nwidth = 16\nhistory = 20\n[train]\nepochs = 1\nbatch_size = 32\n")
    for name in ("one", "two"):
        command = ["train", prepared.path, "--out", tmp_path / name, "--config", settings]
        subprocess.run([sys.executable, "-c", _MAIN, *map(str, command)], check=True, capture_output=True)
    assert same_weights(tmp_path / "one", tmp_path / "two")
    vectors = [TrainedRun.open(tmp_path / name).item_vectors() for name in ("one", "two")]
    assert np.array_equal(vectors[0], vectors[1])


def test_a_last_fit_takes_epochs_and_shares_from_the_run_before_it(prepared: PreparedData, tmp_path: Path) -> None:
    settings = tmp_path / "small.toml"
    settings.write_text(
        "[model]\nwidth = 16\nhistory = 20\n[train]\nepochs = 3\nbatch_size = 32\nlearning_rate = 0.01\n"
    )
    assert run(["train", str(prepared.path), "--out", str(tmp_path / "one"), "--config", str(settings)]) == 0
    assert run(["train", str(prepared.path), "--out", str(tmp_path / "two"), "--refit", str(tmp_path / "one")]) == 0
    before, last = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("one", "two"))
    assert last["config"]["train"]["epochs"] == last["best_epoch"] == before["best_epoch"]
    assert last["shares"] == before["shares"]
    assert sum(before["shares"].values()) == pytest.approx(1.0)
    assert last["calibration"] == before["calibration"]
    assert last["judged_users"] == 0
    assert not same_weights(tmp_path / "one", tmp_path / "two")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")
def test_a_gpu_trains_and_computes_the_same_as_a_cpu(prepared: PreparedData, tmp_path: Path) -> None:
    rates = []
    for device in ("cpu", "cuda"):
        train(prepared, config(epochs=3, device=device), tmp_path / device)
        record = json.loads((tmp_path / device / "run.json").read_text())
        rates.append(record["validation_hit_rate"])
    assert abs(rates[0] - rates[1]) < 0.05


@pytest.mark.parametrize("stop_after", [1, 9, 17])
def test_interrupted_and_resumed_ends_with_the_identical_weights(prepared, whole, tmp_path, stop_after):
    calls = 0

    def press(done: int, total: int, note: str = "") -> None:
        nonlocal calls
        calls += 1
        if calls == stop_after:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(prepared, config(), tmp_path / "cut", progress=press)
    assert not (tmp_path / "cut" / "weights.safetensors").exists()
    with pytest.raises(ArtefactError, match="not finished"):
        TrainedRun.open(tmp_path / "cut")
    train(prepared, config(), tmp_path / "cut", resume=True)
    assert same_weights(whole, tmp_path / "cut")
    curves = [(out / "metrics.jsonl").read_text().splitlines() for out in (whole, tmp_path / "cut")]
    losses = [[(r["epoch"], r["loss"], r["validation_hit_rate"]) for r in map(json.loads, lines)] for lines in curves]
    assert losses[0] == losses[1]


def test_each_epoch_is_told_once_it_is_saved_and_one_who_raises_can_resume(prepared, whole, tmp_path):
    told: list[dict[str, object]] = []

    def tell(record: dict[str, object]) -> None:
        told.append(record)
        if len(told) == 1:
            raise ConnectionError("the tracker does not answer")

    with pytest.raises(ConnectionError):
        train(prepared, config(), tmp_path / "run", on_epoch=tell)
    train(prepared, config(), tmp_path / "run", resume=True, on_epoch=tell)
    assert told == [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in told] == [1, 2], "the epoch after which it raised is not trained again"
    assert same_weights(whole, tmp_path / "run")


def test_a_training_lowers_every_loss_and_shows_its_mean(prepared: PreparedData, tmp_path: Path) -> None:
    train(prepared, config(epochs=6), tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert set(records[0]["loss"]) == {"single", "implicit", "explicit"}
    assert all(records[-1]["loss"][kind] < records[0]["loss"][kind] for kind in records[0]["loss"])
    notes: list[str] = []

    def keep(done: int, total: int, note: str = "") -> None:
        notes.append(note)

    train(prepared, config("single", epochs=1), tmp_path / "single", progress=keep)
    record = json.loads((tmp_path / "single" / "metrics.jsonl").read_text())
    assert notes[-1] == f"epoch 1 of 1, single loss {record['loss']['single']:.3f}"


@pytest.mark.parametrize(("epochs", "most"), [(1, "1 epoch"), (2, "2 epochs")])
def test_a_training_says_what_it_has_to_do_and_how_long_that_takes(epochs, most, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr("multitudes.training.loop._SPEED_AFTER_S", 0.0)
    said: list[str] = []
    fit(prepared, config("single", epochs=epochs, epoch_batches=5), tmp_path / "run", say=said.append)
    targets = len(training_examples(prepared, config("single")))
    assert said[0] == f"train single: {targets:,} targets, 5 batches an epoch, at most {most}"
    speed = (
        r"train single: [\d,]+ targets a second; this epoch ends in \d+ s, the last of (\d) in \d+ (s|min) at most, .*"
    )
    assert re.sub(speed, r"\1", said[1]) == str(epochs)
    assert len(said) == 2


def test_a_loss_that_is_not_finite_stops_with_position_and_advice(prepared: PreparedData, tmp_path: Path) -> None:
    poisoned = dataclasses.replace(prepared, item_feature=np.full((prepared.n_items + 1, 1), np.nan, dtype=np.float32))
    with pytest.raises(MultitudesError, match=r"loss is nan at epoch 1, step 1 .*Lower learning_rate"):
        train(poisoned, config(), tmp_path / "run")
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_without_validation_targets_the_last_epoch_is_kept_and_the_run_says_so(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "multitudes.training.loop.draw_validation_users",
        lambda prepared, _: select_users(held_out_users(prepared, "validation"), np.empty(0, dtype=np.int64)),
    )
    run = train(prepared, config(epochs=3, patience=1), tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["best_epoch"], record["judged_users"]) == (3, 0)
    assert sum(run.list_defaults.shares.values()) == 0


def test_a_run_is_on_disk_before_it_is_marked_finished(prepared, tmp_path, monkeypatch):
    flushing, missing = Flushing(monkeypatch), []
    files = [tmp_path / "run" / name for name in ("weights.safetensors", "metrics.jsonl")]

    def record_written(out: Path, record: dict[str, object]) -> None:
        if record["finished"]:
            missing.append([flushing.missing(file) for file in files])
        write_record(out, record)

    monkeypatch.setattr("multitudes.training.run_folder.write_record", record_written)
    train(prepared, config(epochs=1), tmp_path / "run")
    assert missing == [[[], []]]
    assert flushing.missing(tmp_path / "run" / "run.json") == []


def test_an_existing_run_is_not_overwritten(prepared: PreparedData, whole: Path, tmp_path: Path) -> None:
    copytree(whole, tmp_path / "run")
    before = (tmp_path / "run" / "weights.safetensors").read_bytes()
    with pytest.raises(UsageError, match="exists"):
        train(prepared, config(), tmp_path / "run")
    with pytest.raises(UsageError, match="other settings"):
        train(prepared, config(epochs=3), tmp_path / "run", resume=True)
    train(prepared, config(), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == before


def test_a_finished_run_is_recognised_before_examples_are_built(prepared, whole, tmp_path, monkeypatch):
    monkeypatch.setattr("multitudes.training.loop.Examples", None)
    fit(prepared, config(), whole, resume=True)
    with pytest.raises(TypeError):
        fit(prepared, config(), tmp_path / "other")
    assert not (tmp_path / "other").exists(), "where there are no examples, no folder is begun"


def test_a_damaged_line_of_metrics_is_rejected_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    append_metrics(file, {"epoch": 1})
    append_metrics(file, {"epoch": 2})
    append_metrics(file, {"epoch": 2})
    assert file.read_text().count("\n") == 2, "the control"
    file.write_text(file.read_text()[:-4])
    with pytest.raises(ArtefactError, match=r"metrics\.jsonl: damaged; train again"):
        append_metrics(file, {"epoch": 3})
    assert file.read_text().count("epoch") == 2


@pytest.mark.parametrize(
    "damage", ["cut", "other", "missing", "{", "[1]", '{"format": "multitudes-run", "version": 1}']
)
def test_a_damaged_run_is_rejected_with_the_files_name(prepared, whole, tmp_path, damage):
    run = tmp_path / "run"
    copytree(whole, run)
    file = run / ("weights.safetensors" if damage in {"cut", "other", "missing"} else "run.json")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "missing":
        file.unlink()
    elif file.name == "run.json":
        file.write_text(damage)
    else:
        train(prepared, config("single", epochs=1), tmp_path / "single")
        file.write_bytes((tmp_path / "single" / "weights.safetensors").read_bytes())
    with pytest.raises(ArtefactError, match=file.name):
        TrainedRun.open(run)
    TrainedRun.open(whole)  # the control


def test_a_run_is_neither_opened_nor_resumed_with_other_data(whole: Path) -> None:
    with pytest.raises(ArtefactError, match="changed since"):
        TrainedRun.open(whole, planted(seed=1)[1].path)
    with pytest.raises(UsageError, match="other settings or data"):
        train(planted(seed=1)[1], config(), whole, resume=True)


def test_the_best_epoch_is_kept_and_patience_is_how_many_come_after_it(prepared, tmp_path, monkeypatch):
    def judged(rates: list[float]) -> None:
        left = iter(rates)
        monkeypatch.setattr("multitudes.training.loop.hit_rate", lambda *_: next(left))

    judged([0.3, 0.5, 0.4, 0.4, 0.9])
    train(prepared, config(epochs=5, patience=2), tmp_path / "run")
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 4
    judged([0.3, 0.5])
    train(prepared, config(epochs=2), tmp_path / "two")
    assert same_weights(tmp_path / "run", tmp_path / "two")
    judged([0.3, 0.5, 0.6])
    train(prepared, config(epochs=3), tmp_path / "three")
    assert not same_weights(tmp_path / "run", tmp_path / "three"), "the control"


def test_a_second_training_into_one_folder_is_rejected_while_the_first_runs(prepared, tmp_path):
    with lock_run(tmp_path / "run"), pytest.raises(UsageError, match="another process trains into it"):
        fit(prepared, config(epochs=1), tmp_path / "run", overwrite=True)
    fit(prepared, config(epochs=1), tmp_path / "run")
    assert TrainedRun.open(tmp_path / "run").config == config(epochs=1)


def test_a_run_killed_before_its_first_write_starts_on_resume(prepared: PreparedData, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(UsageError, match="exists"):
        fit(prepared, config(epochs=1), tmp_path / "run")
    fit(prepared, config(epochs=1), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "weights.safetensors").exists()


@pytest.mark.parametrize("settings", [{"gradient_accumulation": 4}, {"checkpoint_steps": 1}])
def test_execution_settings_do_not_change_what_is_learned(prepared, tmp_path, settings):
    """Without dropout; the gradient of parts is tested in test_parallel."""
    still = config("single", epochs=1)
    still = still.model_copy(update={"model": still.model.model_copy(update={"dropout": 0.0})})
    rates = []
    for name, execution in (("plain", ExecutionConfig()), ("other", ExecutionConfig.model_validate(settings))):
        train(prepared, still, tmp_path / name, execution=execution)
        rates.append(json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1])["loss"]["single"])
    assert abs(rates[0] - rates[1]) < 1e-4


def test_layers_in_bfloat16_learn_and_leave_weights_in_float32(prepared: PreparedData, tmp_path: Path) -> None:
    for precision in ("float32", "bfloat16"):
        execution = ExecutionConfig.model_validate({"precision": precision})
        train(prepared, config(epochs=1), tmp_path / precision, execution=execution)
    weights = load_file(tmp_path / "bfloat16" / "weights.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {np.dtype(np.float32)}
    curves = [json.loads((tmp_path / name / "metrics.jsonl").read_text()) for name in ("float32", "bfloat16")]
    losses = [curve["loss"]["single"] for curve in curves]
    assert losses[0] != losses[1], "control: it is another arithmetic"
    assert abs(losses[0] - losses[1]) < 0.05


def test_settings_that_no_micro_batch_can_have_are_rejected(prepared: PreparedData, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="subsequences"):
        fit(prepared, config("subsequence"), tmp_path / "run", execution=ExecutionConfig(gradient_accumulation=2))
    assert not (tmp_path / "run").exists()
    rows = config("single").train.batch_size
    with pytest.raises(UsageError, match=f"with {rows + 1} micro batches, for a batch of {rows} rows"):
        fit(prepared, config("single"), tmp_path / "run", execution=ExecutionConfig(gradient_accumulation=rows + 1))
    assert not (tmp_path / "run").exists()
