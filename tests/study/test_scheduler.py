"""Which cells of a study are computed again."""

import json
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import polars as pl
import pytest

from multitudes.study.provenance import code_digest
from multitudes.study.scheduler import remove_damaged, remove_outdated, results


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


def test_the_first_exception_is_raised_while_others_still_run():
    end = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        futures: list[Future[Any]] = [pool.submit(end.wait, 60), pool.submit(int, "no number"), pool.submit(int, "3")]
        try:
            with pytest.raises(ValueError, match="no number"):
                results(futures)
            assert not futures[0].done()
        finally:
            end.set()
    assert results([futures[0], futures[2]]) == [True, 3]
