"""One cell in this process: its files, what it reuses, and how it repairs what a killed worker left."""

import json
import shutil

import pytest

from multitudes.errors import ArtefactError
from multitudes.evaluation.config import EvaluateConfig
from multitudes.run_record import data_digest
from multitudes.study.cells import Cell, read_result
from multitudes.study.grid import build_configs
from multitudes.study.provenance import code_digest
from multitudes.study.worker import compute_cell
from tests.worlds import planted

TRAIN = {"epochs": 1, "batch_size": 64, "in_batch": 32, "uniform": 32, "validate_users": 20}
MODEL = {"width": 16, "history": 10, "crossing": {"hidden": 16}}
ASKED = EvaluateConfig(budgets=(5, 20), max_users=20)


def cell(method="single", trial=None, over=(), seed=0, retrieve=None, **model):
    prepared = planted()[1]
    model = model or ({} if method in ("combined", "followed") else MODEL)
    settings = {
        "method": method,
        "model": model,
        "train": {} if over or method in ("linear", "followed") else TRAIN,
        "retrieve": retrieve or {},
    }
    run, served = build_configs(settings, seed=seed)
    return Cell("planted", method, prepared.path, data_digest(prepared), run, served, ASKED, trial, over)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    done(cell(), folder)
    return folder


def done(asked, cells, split="validation"):
    folder = asked.folder(cells)
    folder.mkdir(exist_ok=True)
    compute_cell(asked.job(split, cells), folder)
    return folder


def result_of(folder, split):
    result = read_result(folder, split)
    assert result is not None
    return result


def test_a_cell_leaves_its_figures_its_cost_and_its_run_and_is_not_touched_again(cells, tmp_path):
    folder = cell().folder(cells)
    result = result_of(folder, "validation")
    assert result["vectors_per_user"] == 1
    assert 0 <= result["score"]["hr"] <= 1
    assert min(result["p90_ms"], result["parameters"], result["train_seconds"]) > 0
    trained = json.loads((cell().training_folder(cells) / "run" / "run.json").read_text())
    assert 1 <= result["best_epoch"] == trained["best_epoch"] <= result["epochs"]
    assert (cell().training_folder(cells) / "run" / "weights.safetensors").exists()
    assert not list(folder.glob("*-test*"))
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    done(cell(), cells)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before
    assert result_of(cell().folder(cells), "validation")["code"] == code_digest()
    shutil.copytree(cell().training_folder(cells), cell().training_folder(tmp_path))
    (cell().training_folder(tmp_path) / "code").write_text("other")
    assert result_of(done(cell(), tmp_path), "validation")["code"] == f"other+{code_digest()}"


def test_every_input_that_affects_the_result_changes_the_digest():
    others = [
        cell(seed=1),
        cell(trial=1),
        cell("joint"),
        cell(retrieve={"topics_per_request": 3}),
        cell(retrieve={"blend": "round_robin"}),
        cell(width=32),
        cell("pinnersage", over=(cell(),), interests=3),
        cell("pinnersage", over=(cell(seed=1),), interests=3),
        cell("combined", over=(cell("clustering"), cell("conditional"))),
        cell("combined", over=(cell("conditional"), cell("clustering"))),
        cell("combined", over=(cell("clustering"), cell("conditional")), retrieve={"explicit_share": 0.4}),
        cell("followed"),
    ]
    assert len({one.digest for one in [cell(), *others]}) == 1 + len(others)
    assert cell().digest == cell().digest


def test_cells_that_differ_only_in_retrieval_share_one_training(cells, monkeypatch):
    other = cell(retrieve={"topics_per_request": 3})
    assert other.training_digest == cell().training_digest
    assert other.digest != cell().digest
    assert cell(width=32).training_digest != cell().training_digest, "control: another model is another training"

    def no_training(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("multitudes.study.worker.train", no_training)
    first, second = (result_of(done(one, cells), "validation") for one in (cell(), other))
    for cost in ("train_seconds", "targets_per_s", "parameters"):
        assert first[cost] == second[cost]
    with pytest.raises(AssertionError, match="trained again"):
        done(cell(seed=5), cells)


def test_combined_models_cost_what_both_cost_and_nothing_is_trained(cells, monkeypatch):
    first, second = cell("clustering"), cell("conditional")
    parts = [result_of(done(one, cells), "validation") for one in (first, second)]
    monkeypatch.setattr("multitudes.study.worker.train", None)
    both = cell("combined", over=(first, second), retrieve={"explicit_share": 0.3})
    result = result_of(done(both, cells), "validation")
    for cost in ("parameters", "train_seconds"):
        assert result[cost] == pytest.approx(sum(part[cost] for part in parts))
    assert result["vectors_per_user"] == pytest.approx(sum(part["vectors_per_user"] for part in parts) - 1, abs=0.02)
    assert (result["targets_per_s"], "epochs" in result) == (None, False)
    assert 0 < result["score"]["hr"] <= 1
    assert (both.training_folder(cells) / "run" / "second" / "run.json").exists()
    assert both.training_digest != cell("combined", over=(first, cell("conditional", seed=1))).training_digest


def test_a_trial_keeps_its_score_and_followed_topics_cost_nothing_to_train(cells):
    folder = done(cell(trial=1), cells)
    assert result_of(folder, "validation")["score"] == result_of(cell().folder(cells), "validation")["score"]
    assert not (folder / "run").exists()
    result = result_of(done(cell("followed"), cells), "validation")
    assert (result["parameters"], result["train_seconds"], result["targets_per_s"]) == (0, 0, None)
    assert 0 < result["score"]["hr"] <= 1


def test_a_training_folder_without_its_record_starts_again(cells, tmp_path):
    folder, training = tmp_path / cell().digest, cell().training_folder(tmp_path)
    folder.mkdir()
    (training / "run").mkdir(parents=True)
    (folder / "result-validation.json").write_text('{"budg')
    done(cell(), tmp_path)
    first, second = (result_of(cell().folder(where), "validation") for where in (cells, tmp_path))
    assert first["score"] == second["score"]


def test_item_vectors_of_another_method_are_clustered_where_its_run_is(cells, tmp_path):
    sage = cell("pinnersage", over=(cell(),), interests=3)
    result = result_of(done(sage, cells), "validation")
    assert (result["parameters"], result["train_seconds"]) == (0, 0)
    assert 1 < result["vectors_per_user"] <= 3
    made = json.loads((sage.training_folder(cells) / "run" / "run.json").read_text())["config"]["model"]
    assert made["vectors"] == str(cell().training_folder(cells) / "run")
    with pytest.raises(ArtefactError, match="no run here"):
        done(cell("pinnersage", over=(cell(seed=7),), interests=3), tmp_path)


def test_a_linear_model_is_a_cell_that_is_fitted_once(tmp_path):
    folder = done(cell("linear", rank=8), tmp_path)
    result = result_of(folder, "validation")
    assert result["parameters"] == 2 * 8 * (planted()[1].n_items + 1)
    assert result["vectors_per_user"] == 1
    assert result["train_seconds"] > 0
    record = cell("linear", rank=8).training_folder(tmp_path) / "run" / "run.json"
    before = record.stat().st_mtime_ns
    done(cell("linear", rank=8), tmp_path, "test")
    assert record.stat().st_mtime_ns == before


def test_the_test_split_joins_a_trained_cell(cells, tmp_path):
    for folder in (cell().folder(cells), cell().training_folder(cells)):
        shutil.copytree(folder, tmp_path / folder.name)
    weights = cell().training_folder(tmp_path) / "run" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    folder = done(cell(), tmp_path, "test")
    assert weights.stat().st_mtime_ns == before
    assert {file.name for file in folder.glob("result-*")} == {"result-validation.json", "result-test.json"}
