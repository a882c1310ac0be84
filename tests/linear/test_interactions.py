"""Which events are interactions of a fit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from multitudes.data.prepared import VALIDATION
from multitudes.linear.interactions import interaction_matrix
from tests.evaluation.worlds import prepared


@pytest.mark.parametrize(("include_validation", "expected"), [(False, [[1, 2], [3]]), (True, [[1, 2, 4], [3, 5]])])
def test_validation_events_count_for_a_last_fit_alone_and_test_events_never(
    tmp_path: Path, *, include_validation: bool, expected: list[list[int]]
) -> None:
    data = prepared(tmp_path, [[1, 2, 4, 2], [3, 3, 5]], [[6], [1]], [[1]] * 6)
    split = data.event_split.copy()
    split[[2, 3, 7]] = VALIDATION
    matrix = interaction_matrix(replace(data, event_split=split), include_validation=include_validation)
    assert [np.flatnonzero(row).tolist() for row in matrix.toarray()] == expected
