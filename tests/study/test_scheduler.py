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


@pytest.mark.parametrize(
    ("split", "cell_code", "training_code", "left"),
    [
        ("validation", "", "", {"result-validation.json", "result-test.json", "run"}),
        ("validation", "other", "other", set()),
        ("validation", "other", "", {"run"}),  # another cell that shares the training has just repeated it
        ("test", "other", "other", {"result-validation.json", "run"}),
    ],
)
def test_what_other_code_computed_is_removed(split, cell_code, training_code, left, folders):
    cell, training = folders
    if cell_code:
        (cell / f"result-{split}.json").write_text(json.dumps({"code": cell_code}))
    if training_code:
        (training / "code").write_text(training_code)
    remove_outdated(cell, training, split)
    assert {path.name for folder in folders for path in folder.glob("r*")} == left


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
