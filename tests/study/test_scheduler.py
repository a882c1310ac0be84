"""The scheduler: estimates of the time left, and which cells are computed again."""

import json

import polars as pl
import pytest

from multitudes.study.provenance import code_digest
from multitudes.study.scheduler import expected_seconds, remove_damaged, remove_outdated, seconds_left

JOINT, PLAIN, TRIAL = ("films", "joint", False), ("films", "plain", False), ("films", "joint", True)


def test_without_a_finished_task_there_is_no_estimate():
    assert seconds_left([JOINT], [], [], 2) is None


def test_the_most_similar_tasks_give_the_estimate():
    finished = [(JOINT, 10.0), (JOINT, 20.0), (PLAIN, 2.0), (("books", "joint", False), 99.0)]
    assert expected_seconds(JOINT, finished) == 15
    assert expected_seconds(TRIAL, finished) == 15  # a trial of joint is most similar to a seed of joint
    assert expected_seconds(("films", "new", False), finished) == (10 + 20 + 2) / 3
    assert expected_seconds(("music", "new", False), [(JOINT, 4.0), (PLAIN, 2.0)]) == 3


def test_two_processes_halve_the_time_and_running_tasks_count_partly():
    finished = [(JOINT, 10.0)]
    assert seconds_left([JOINT] * 4, [], finished, 1) == 40
    assert seconds_left([JOINT] * 4, [], finished, 2) == 20
    assert seconds_left([JOINT] * 4, [(JOINT, 6.0)], finished, 1) == 34
    assert seconds_left([JOINT], [(JOINT, 60.0)], finished, 1) == 0  # slower than all before: never negative


@pytest.fixture
def folders(tmp_path):
    """Return the folders of a cell that the installed code computed on both splits, and of its training."""
    cell, training = tmp_path / "cell", tmp_path / "training"
    cell.mkdir()
    (training / "run").mkdir(parents=True)
    (training / "code").write_text(code_digest())
    for split in ("validation", "test"):
        (cell / f"result-{split}.json").write_text(json.dumps({"code": code_digest()}))
    return cell, training


def change(cell, split):
    (cell / f"result-{split}.json").write_text(json.dumps({"code": "other"}))


def test_cells_of_the_same_code_stay(folders):
    for split in ("validation", "test"):
        remove_outdated(folders[0], folders[1], split)
    assert [len(list(folder.iterdir())) for folder in folders] == [2, 2]


def test_a_training_by_other_code_is_removed_with_its_cell(folders):
    cell, training = folders
    change(cell, "validation")
    (training / "code").write_text("other")
    remove_outdated(cell, training, "validation")
    assert not cell.exists()
    assert not training.exists()


def test_a_training_by_the_installed_code_is_kept(folders):
    """Another cell that shares the training has just repeated it."""
    cell, training = folders
    change(cell, "validation")
    remove_outdated(cell, training, "validation")
    assert not cell.exists()
    assert (training / "run").exists()


def test_results_of_other_code_on_the_test_split_are_removed_and_the_training_stays(folders):
    cell, training = folders
    change(cell, "test")
    (training / "code").write_text("other")
    remove_outdated(cell, training, "test")
    assert [path.name for path in cell.iterdir()] == ["result-validation.json"]
    assert (training / "run").exists()


def test_a_cell_without_a_result_is_not_touched(tmp_path):
    (tmp_path / "run").mkdir()
    remove_outdated(tmp_path, tmp_path, "validation")
    assert (tmp_path / "run").exists()


@pytest.mark.parametrize("kept", [0, 100, None])
def test_the_result_of_a_cell_with_truncated_outcomes_is_removed_and_others_stay(folders, kept):
    cell, training = folders
    table = cell / "outcomes-validation.parquet"
    pl.DataFrame({"hits": range(500)}).write_parquet(table)
    remove_damaged(cell, "validation")
    assert (cell / "result-validation.json").exists(), "control: an intact table"
    table.unlink() if kept is None else table.write_bytes(table.read_bytes()[:kept])
    remove_damaged(cell, "validation")
    assert sorted(path.name for path in cell.glob("*.json")) == ["result-test.json"]
    assert (training / "run").exists()
