"""How often the test split was opened is counted, and cannot be lost unseen."""

from dataclasses import dataclass

import pytest

from multitudes.errors import ArtefactError
from multitudes.study.seal import open_test, opened


@dataclass
class Named:
    digest: str


def test_other_cells_are_another_opening_and_the_same_ones_are_not(tmp_path):
    assert opened(tmp_path) == 0
    assert open_test(tmp_path, [Named("a"), Named("b")]) == 1
    assert open_test(tmp_path, [Named("b"), Named("a")]) == 1  # an interrupted opening goes on
    assert open_test(tmp_path, [Named("a"), Named("c")]) == 2  # settings changed after a look
    assert opened(tmp_path) == 2


def test_a_damaged_count_is_not_taken_for_none(tmp_path):
    (tmp_path / "opened.json").write_text("{")
    with pytest.raises(ArtefactError, match="how often the test split was opened is not known"):
        open_test(tmp_path, [Named("a")])
