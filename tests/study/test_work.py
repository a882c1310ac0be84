"""What is done again, and what is not, when the code has changed."""

import json

import pytest

from multitudes.study.code import code_digest
from multitudes.study.work import forget_other_code


@pytest.fixture
def folder(tmp_path):
    """Return a cell that was done on both splits by the code that is installed."""
    cell = tmp_path / "abc"
    (cell / "run").mkdir(parents=True)
    for split in ("validation", "test"):
        (cell / f"result-{split}.json").write_text(json.dumps({"code": code_digest()}))
    return cell


def change(folder, split):
    (folder / f"result-{split}.json").write_text(json.dumps({"code": "other"}))


def test_cells_of_the_same_code_stay(folder):
    forget_other_code(folder, "validation")
    forget_other_code(folder, "test")
    assert len(list(folder.iterdir())) == 3


def test_a_cell_of_other_code_is_forgotten_with_its_training(folder):
    change(folder, "validation")
    forget_other_code(folder, "validation")
    assert not folder.exists()


def test_answers_about_the_test_split_are_forgotten_and_the_training_stays(folder):
    change(folder, "test")
    forget_other_code(folder, "test")
    assert sorted(path.name for path in folder.iterdir()) == ["result-validation.json", "run"]


def test_a_cell_that_was_never_done_is_not_touched(tmp_path):
    (tmp_path / "run").mkdir()
    forget_other_code(tmp_path, "validation")
    assert (tmp_path / "run").exists()
