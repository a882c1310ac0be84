"""Warm start on newer data: rows with a known name keep what was learned, new ones start as in any training."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from multitudes.batches.negatives import StreamingFrequency
from multitudes.batches.windows import eligible_targets
from multitudes.cli.main import run
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.prepared import PreparedData
from multitudes.errors import ArtefactError, DataError, UsageError
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.training import optimizer_state
from multitudes.training.checkpoint import TrainingState
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.distributed import ITEM_TABLE, SINGLE_PROCESS, Ranks
from multitudes.training.loop import fit, train, training_examples
from multitudes.training.step import compute_gradients, initial_state, optimizer_step
from multitudes.training.trained_run import TrainedRun, named_weights
from multitudes.training.warm_start import init_frequency, last_trained_time, match_names, warm_start, warm_start_config
from tests.worlds import planted, planted_days

MODEL = UserTowerConfig.model_validate({"width": 8, "history": 10, "crossing": {"hidden": 16}})
CONFIG = RunConfig(
    method="joint", model=MODEL, train=TrainConfig(epochs=1, batch_size=32, in_batch=64, uniform=32), final=True
)


@pytest.fixture(scope="module")
def days() -> tuple[PreparedData, PreparedData]:
    """Return the earlier days of a world, and all of them, which have further items."""
    return planted_days().early, planted_days().every


@pytest.fixture(scope="module")
def before(days: tuple[PreparedData, PreparedData], tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return train(days[0], CONFIG, tmp_path_factory.mktemp("runs") / "before")


def ids(prepared: PreparedData) -> list[str]:
    return ["", *map(str, prepared.items["item_id"])]


def test_items_and_optimiser_state_are_matched_by_id_and_new_ones_start_as_in_any_training(days, before):
    early, whole = days
    config = warm_start_config(CONFIG, before)
    fresh, state = initial_state(whole, config), initial_state(whole, config)
    warm_start(state, whole, config, SINGLE_PROCESS)
    new, old, untrained = (m.items.id_embedding.weight.detach() for m in (state.model, before.model, fresh.model))
    number = {item: i for i, item in enumerate(ids(early))}
    assert set(ids(whole)) - set(number), "the later world has further items"
    for i, item in enumerate(ids(whole)):
        expected = old[number[item]] if item in number else untrained[i]
        assert np.array_equal(new[i], expected), item
    towers = [named_weights(model) for model in (state.model, before.model)]
    assert np.array_equal(towers[0]["user.history.0.weight"], towers[1]["user.history.0.weight"])
    stored, kept = load_file(before.path / optimizer_state.STATE_FILE), moments(state)
    for key in ("exp_avg", "exp_avg_sq"):
        was, now = stored[f"{key}/{ITEM_TABLE}"], kept[f"{key}/{ITEM_TABLE}"]
        for i, item in enumerate(ids(whole)):
            assert torch.equal(now[i], was[number[item]] if item in number else torch.zeros(8)), item
        assert now.any()
        name = f"{key}/user.history.0.weight"
        assert torch.equal(kept[name], stored[name])
    assert kept[f"step/{ITEM_TABLE}"] == stored[f"step/{ITEM_TABLE}"] == state.position.step == stored["steps"] > 0
    known = [i for i, item in enumerate(ids(whole)) if item in number]
    places_before = [number[ids(whole)[i]] for i in known]
    assert np.array_equal(state.frequency.interval[known], stored["frequency/interval"].numpy()[places_before])
    assert np.array_equal(state.frequency.last[known], stored["frequency/last"].numpy()[places_before])
    other = set(range(len(ids(whole)))) - set(known)
    assert (state.frequency.last[sorted(other)] == state.position.step).all()


def on(config: RunConfig, run: TrainedRun) -> RunConfig:
    """Return ``config`` as it would go on from ``run`` with all the events, were that allowed."""
    return config.model_copy(update={"continues": str(run.path.resolve())})


def moments(state: TrainingState) -> dict[str, Tensor]:
    """Return what the optimisers know, by the name of a key and a weight."""
    name = optimizer_state.weight_names(state)
    return {
        f"{key}/{name[f'{i}/{j}']}": torch.as_tensor(value)
        for i, optimizer in enumerate(state.optimizers)
        for j, values in optimizer.state.items()
        for key, value in values.items()
    }


def steps(state: TrainingState, prepared: PreparedData, config: RunConfig, epoch: int) -> None:
    examples = training_examples(prepared, config)
    for windows in examples.windows.epoch_batches(
        config.train.batch_size, config.seed, epoch, config.train.epoch_batches
    ):
        state.position.step += 1
        compute_gradients(state, examples, windows, config)
        optimizer_step(state)


def test_a_warm_start_on_the_same_data_continues_the_training(days, before, tmp_path):
    """To the bit; the control, which has the weights alone, ends elsewhere."""
    early, ends = days[0], {}
    two = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"epochs": 2})})
    ends["on"] = named_weights(train(early, two, tmp_path / "two").model)
    forgetful = without_state(before, tmp_path)
    for name, origin in (("kept", before), ("new", forgetful)):
        state = initial_state(early, CONFIG)
        warm_start(state, early, on(CONFIG, origin), SINGLE_PROCESS)
        steps(state, early, CONFIG, epoch=1)
        ends[name] = named_weights(state.model)
    assert all(torch.equal(ends["on"][name], weight) for name, weight in ends["kept"].items())
    assert not torch.equal(ends["on"][ITEM_TABLE], ends["new"][ITEM_TABLE]), "the control"


def without_state(run: TrainedRun, folder: Path) -> TrainedRun:
    """Return a copy of ``run`` as versions before wrote it: weights alone."""
    copy = shutil.copytree(run.path, folder / "weights-alone")
    (copy / optimizer_state.STATE_FILE).unlink()
    return TrainedRun.open(copy)


@pytest.mark.parametrize("changed", [{"in_batch": 16}, {"batch_size": 16}])
def test_with_other_negatives_their_frequency_is_initialised_again(days, before, changed):
    config = warm_start_config(CONFIG, before)
    config = config.model_copy(update={"train": config.train.model_copy(update=changed)})
    state = initial_state(days[1], config)
    warm_start(state, days[1], config, SINGLE_PROCESS)
    expected = StreamingFrequency.uniform(days[1].n_items, config.train.in_batch)
    init_frequency(expected, days[1].item_count, config.train.in_batch)
    assert np.array_equal(state.frequency.interval, expected.interval)
    assert moments(state)[f"exp_avg/{ITEM_TABLE}"].any()


def test_kinds_of_interests_keep_their_shares(days, before, tmp_path):
    run = TrainedRun.open(shutil.copytree(before.path, tmp_path / "run"))
    fitted = {"unconditioned": 0.5, "implicit": 0.3, "explicit": 0.2}
    assert before.list_defaults.shares != fitted, "the control"
    record = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(record | {"shares": fitted, "calibration": 0.35}))
    after = train(days[1], warm_start_config(CONFIG, run), tmp_path / "after")
    assert (after.list_defaults.shares, after.list_defaults.calibration) == (fitted, 0.35)


@pytest.mark.parametrize("damage", ["cut", "other model", "no moments", "other run", "a folder"])
def test_a_damaged_state_is_rejected_by_its_name(days, before, tmp_path, damage):
    run = TrainedRun.open(shutil.copytree(before.path, tmp_path / "run"))
    file = run.path / optimizer_state.STATE_FILE
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-9])
    elif damage == "other run":
        again = train(days[0], CONFIG.model_copy(update={"seed": 1}), tmp_path / "again")
        shutil.copy(again.path / optimizer_state.STATE_FILE, file)
    elif damage == "a folder":
        file.unlink()
        file.mkdir()
    else:
        tensors = load_file(file)
        tensors[f"exp_avg/{ITEM_TABLE}"] = torch.cat(
            [tensors[f"exp_avg/{ITEM_TABLE}"]] * 2
        )  # all rows are there, and more
        if damage == "no moments":
            del tensors[f"exp_avg/{ITEM_TABLE}"]
        save_file(tensors, file)
    with pytest.raises(
        ArtefactError, match=rf"run/{optimizer_state.STATE_FILE}: damaged, or of another model .*; remove it"
    ):
        train(days[1], warm_start_config(CONFIG, run), tmp_path / "after")
    assert not (tmp_path / "after").exists()
    file.rmdir() if file.is_dir() else file.unlink()
    assert train(days[1], warm_start_config(CONFIG, run), tmp_path / "after").config.continues == str(run.path)


def test_a_warm_start_without_optimiser_state_prints_one_line(days, before, tmp_path, capsys):
    run_before, settings = without_state(before, tmp_path), tmp_path / "small.toml"
    settings.write_text("[execution]\nkeep_state = false\n")
    for earlier, n_lines in ((run_before, 1), (before, 0)):
        out = tmp_path / f"after-{n_lines}"
        call = ["train", str(days[1].path), "--continue", str(earlier.path), "--out", str(out)]
        assert run([*call, "--config", str(settings)]) == 0
        lines = [line for line in capsys.readouterr().err.splitlines() if "optimiser" in line]
        assert len(lines) == n_lines
        assert not (out / optimizer_state.STATE_FILE).exists()
    config = warm_start_config(CONFIG, run_before)
    state = initial_state(days[1], config)
    warm_start(state, days[1], config, SINGLE_PROCESS)
    assert moments(state) == {}
    assert state.position.step == 0


def test_the_number_of_known_items_is_printed_and_unrelated_data_is_rejected(days, before, tmp_path, capsys):
    call = ["train", "--continue", str(before.path), "--out", str(tmp_path / "after")]
    assert run([*call, str(days[1].path)]) == 0
    later, early = (data.items["item_id"].to_list() for data in (days[1], days[0]))
    assert f"knows {len(set(later) & set(early))} of {len(later)} items" in capsys.readouterr().err
    (tmp_path / "others").mkdir()
    for name in ("events", "items"):
        table = pl.read_parquet(planted()[1].path.parent / "data" / f"{name}.parquet")
        table.with_columns(pl.col("item_id") + 1_000).write_parquet(tmp_path / "others" / f"{name}.parquet")
    others = prepare(tmp_path / "others", tmp_path / "others-p", PrepareConfig())
    assert run([*call[:-1], str(tmp_path / "never"), str(others.path)]) == 2
    assert f"{others.path}: has no item of {days[0].path}" in capsys.readouterr().err
    assert not (tmp_path / "never").exists()


def test_the_state_is_that_of_the_epoch_whose_weights_were_kept(days, tmp_path, monkeypatch):
    files = {}
    for name, rates in (("best", [0.3, 0.5, 0.4]), ("two", [0.3, 0.5]), ("last", [0.3, 0.5, 0.6])):
        left = iter(rates)
        monkeypatch.setattr("multitudes.training.loop.hit_rate", lambda *_, left=left: next(left))
        settings = CONFIG.train.model_copy(update={"epochs": len(rates)})
        train(days[0], CONFIG.model_copy(update={"train": settings, "final": False}), tmp_path / name)
        files[name] = load_file(tmp_path / name / optimizer_state.STATE_FILE)
    assert all(torch.equal(files["best"][name], tensor) for name, tensor in files["two"].items())
    assert files["last"]["steps"] > files["best"]["steps"], "the control"


def test_a_rank_restores_its_rows(days: tuple[PreparedData, PreparedData], before: TrainedRun) -> None:
    whole, config = days[1], warm_start_config(CONFIG, before)
    one, second = initial_state(whole, config), Ranks(1, 3)
    part = initial_state(whole, config, second)
    warm_start(one, whole, config, SINGLE_PROCESS)
    warm_start(part, whole, config, second)
    own = second.own_rows(whole.n_items + 1)
    table = one.model.items.id_embedding.weight.detach()[own]
    assert np.array_equal(part.model.items.id_embedding.weight.detach(), table)
    whole_state, of_rank = moments(one), moments(part)
    for key in ("exp_avg", "exp_avg_sq"):
        name = f"{key}/{ITEM_TABLE}"
        assert torch.equal(of_rank.pop(name), whole_state.pop(name)[own])
    assert of_rank.keys() == whole_state.keys()
    assert all(torch.equal(of_rank[name], value) for name, value in whole_state.items())
    assert np.array_equal(part.frequency.interval, one.frequency.interval)


def test_only_later_events_are_trained_on(days, before, tmp_path):
    whole, config = days[1], warm_start_config(CONFIG, before)
    since = config.since
    assert since == last_trained_time(before)
    position = eligible_targets(whole, include_validation=True, since=since).to_array()
    everything = eligible_targets(whole, include_validation=True)
    assert 0 < len(position) < len(everything)
    assert whole.event_time[position].min() > since
    after = train(whole, config, tmp_path / "after")
    assert last_trained_time(after) == whole.event_time[position].max()
    assert after.list_defaults.shares == before.list_defaults.shares


def test_settings_of_another_model_and_the_own_folder_are_rejected(before, days, tmp_path):
    with pytest.raises(UsageError, match="method and \\[model\\]"):
        warm_start_config(CONFIG.model_copy(update={"method": "single"}), before)
    with pytest.raises(UsageError, match="is the run that --continue names; give another --out"):
        fit(days[1], warm_start_config(CONFIG, before), before.path, overwrite=True)
    assert (before.path / "weights.safetensors").exists()
    with pytest.raises(DataError, match="no event is later; give newer data"):
        train(days[0], warm_start_config(CONFIG, before), tmp_path / "after")
    assert not (tmp_path / "after").exists()


def test_rows_are_matched_by_name_and_initial_frequencies_follow_the_training_events() -> None:
    assert match_names(["", "b", "new", "a"], ["", "a", "b"]).tolist() == [0, 2, -1, 1]
    assert match_names(["", "", "b"], ["", "a", "", "b"]).tolist() == [0, 2, 3], "an empty name is not the unknown"
    assert match_names([""], ["", "a"]).tolist() == match_names(["", "a"], [""])[:1].tolist() == [0]
    frequency = StreamingFrequency.uniform(3, 10)
    init_frequency(frequency, np.array([0, 90, 10, 0]), 10)
    met = frequency.probability(np.arange(4))
    assert np.allclose(met[1:3], [1 - 0.1**10, 1 - 0.9**10])
    assert met[3] <= 1e-5
    assert met[1] > met[2], "control: they are not all alike"


def test_settings_that_a_warm_start_cannot_change_are_rejected(before, tmp_path, capsys):
    file = tmp_path / "other.toml"
    call = ["train", str(before.prepared.path), "--continue", str(before.path), "--out", str(tmp_path / "after")]
    for text, options, lines in (
        ("[model]\nwidth = 16\n", [], "continues with that run's method and [model]"),
        ("[model]\nwidht = 16\n", [], "unknown key 'widht'"),
        ("train = 3\n", [], "expected a table of settings"),
        ("", ["--refit", str(before.path)], "--refit and --continue"),
        ("", ["--method", "joint"], "--method joint: --continue takes the method of"),
        ("", ["--method", "pinnersage"], "--method pinnersage: --continue takes the method of"),
    ):
        file.write_text(text)
        assert run([*call, "--config", str(file), *options]) == 2
        assert lines in capsys.readouterr().err
    assert not (tmp_path / "after").exists()
