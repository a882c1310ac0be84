"""What is done again, and what is not, when the code has changed."""

import json

import polars as pl
import pytest

from multitudes.study.provenance import code_digest
from multitudes.study.scheduler import remove_damaged, remove_outdated


@pytest.fixture
def folders(tmp_path):
    """Return a cell that was done on both splits by the code that is installed, and its training."""
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


def test_a_training_that_other_code_began_is_forgotten_with_its_cell(folders):
    cell, training = folders
    change(cell, "validation")
    (training / "code").write_text("other")
    remove_outdated(cell, training, "validation")
    assert not cell.exists()
    assert not training.exists()


def test_a_training_by_the_code_of_today_stays_for_another_answer(folders):
    """The first of the cells that share a training has just made it anew."""
    cell, training = folders
    change(cell, "validation")
    remove_outdated(cell, training, "validation")
    assert not cell.exists()
    assert (training / "run").exists()


def test_answers_about_the_test_split_are_forgotten_and_the_training_stays(folders):
    cell, training = folders
    change(cell, "test")
    (training / "code").write_text("other")
    remove_outdated(cell, training, "test")
    assert [path.name for path in cell.iterdir()] == ["result-validation.json"]
    assert (training / "run").exists()


def test_a_cell_that_was_never_done_is_not_touched(tmp_path):
    (tmp_path / "run").mkdir()
    remove_outdated(tmp_path, tmp_path, "validation")
    assert (tmp_path / "run").exists()


@pytest.mark.parametrize("kept", [0, 100, None])
def test_a_cell_whose_table_was_cut_off_is_asked_again_and_a_sound_one_is_not(folders, kept):
    cell, training = folders
    table = cell / "outcomes-validation.parquet"
    pl.DataFrame({"hits": range(500)}).write_parquet(table)
    remove_damaged(cell, "validation")
    assert (cell / "result-validation.json").exists(), "control: a sound table"
    table.unlink() if kept is None else table.write_bytes(table.read_bytes()[:kept])
    remove_damaged(cell, "validation")
    assert sorted(path.name for path in cell.glob("*.json")) == ["result-test.json"]
    assert (training / "run").exists()
