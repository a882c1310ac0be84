"""How often the test split was opened is counted, and cannot be lost unseen."""

from types import SimpleNamespace
from typing import cast

import pytest

from multitudes.errors import ArtefactError
from multitudes.study.cells import Cell
from multitudes.study.run import count_test_accesses, record_test_access


def named(digest: str) -> Cell:
    """Return something that has a digest, which is all that the seal reads of a cell."""
    return cast("Cell", SimpleNamespace(digest=digest))


def test_other_cells_are_another_opening_and_the_same_ones_are_not(tmp_path):
    assert count_test_accesses(tmp_path) == 0
    assert record_test_access(tmp_path, [named("a"), named("b")]) == 1
    assert record_test_access(tmp_path, [named("b"), named("a")]) == 1  # an interrupted opening goes on
    assert record_test_access(tmp_path, [named("a"), named("c")]) == 2  # settings changed after a look
    assert count_test_accesses(tmp_path) == 2


def test_a_damaged_count_is_not_taken_for_none(tmp_path):
    (tmp_path / "opened.json").write_text("{")
    with pytest.raises(ArtefactError, match="the number of test set accesses is unknown"):
        record_test_access(tmp_path, [named("a")])
