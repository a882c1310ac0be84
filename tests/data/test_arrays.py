"""What is written part by part is read part by part, and rows that got lost on the way are missed."""

import numpy as np
import pytest

from multitudes.data.arrays import read_columns, write_columns
from multitudes.errors import ArtefactError

PARTS = [{"a": np.arange(3), "b": np.ones(3, dtype=bool)}, {"a": np.arange(2), "b": np.zeros(2, dtype=bool)}]


def test_columns_come_back_in_other_parts(tmp_path):
    write_columns(tmp_path, {"a": np.int32, "b": np.bool_}, 5, PARTS)
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2, 0, 1]
    parts = list(read_columns(tmp_path, ["b", "a"], [1, 0, 4]))
    assert [part["a"].tolist() for part in parts] == [[0], [], [1, 2, 0, 1]]
    assert np.concatenate([part["b"] for part in parts]).tolist() == [True, True, True, False, False]


def test_lost_rows_are_missed(tmp_path):
    with pytest.raises(ArtefactError, match=r"5 of 6 rows came back.*run the command again"):
        write_columns(tmp_path, {"a": np.int32}, 6, PARTS)
