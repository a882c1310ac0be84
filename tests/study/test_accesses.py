"""Accesses to the test set are counted, and a damaged count is an error."""

from types import SimpleNamespace
from typing import cast

import pytest

from multitudes.errors import ArtefactError
from multitudes.study.cells import Cell
from multitudes.study.run import read_test_accesses, record_test_access


def cell(digest: str) -> Cell:
    """Return an object with a digest, the only attribute of a cell that is used."""
    return cast("Cell", SimpleNamespace(digest=digest))


def test_other_cells_are_another_access_the_same_ones_are_not_and_damage_is_an_error(tmp_path):
    assert read_test_accesses(tmp_path) == []
    assert record_test_access(tmp_path, [cell("a"), cell("b")]) == 1
    assert record_test_access(tmp_path, [cell("b"), cell("a")]) == 1  # an interrupted access resumes
    assert record_test_access(tmp_path, [cell("a"), cell("c")]) == 2  # settings changed after an access
    assert len(read_test_accesses(tmp_path)) == 2
    (tmp_path / "opened.json").write_text("{")
    with pytest.raises(ArtefactError, match="the number of test set accesses is unknown"):
        record_test_access(tmp_path, [cell("a")])
