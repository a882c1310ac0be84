"""The page of the linear method holds the kept figures, and exact EASE cut to a rank is the best of that rank."""

import copy
import json

import numpy as np
import pytest
from benchmarks.linear.__main__ import PAGE, RESULTS, update_page
from benchmarks.linear.exact import cut, measure_set
from scipy.sparse import csr_array

from multitudes.data.prepared import PreparedData
from multitudes.linear.ease_model import fit_ease


def test_the_page_holds_the_kept_figures_and_others_change_it() -> None:
    page, records = PAGE.read_text(encoding="utf-8"), json.loads(RESULTS.read_text(encoding="utf-8"))
    assert update_page(page, records) == page
    for part in ("sets", "worlds"):
        assert update_page(page, copy.deepcopy(records) | {part: {}}) != page


@pytest.mark.parametrize("users", [20, 300])  # fewer than items, and more
def test_exact_ease_is_cut_to_its_largest_singular_values(users: int) -> None:
    draw = np.random.default_rng(0)
    dense_UI = np.pad(draw.random((users, 40)) < 0.2, ((0, 0), (1, 0))).astype(np.float32)
    model = fit_ease(csr_array(dense_UI), 5.0)
    weights_II = model.scores(csr_array(np.eye(41, dtype=np.float32)))
    left_II, value_I, right_II = np.linalg.svd(weights_II)
    factors = cut(model, 4)
    expected_II = (left_II[:, :4] * value_I[:4]) @ right_II[:4]
    np.testing.assert_allclose(factors.input_IR @ factors.output_IR.T, expected_II, atol=1e-4)


def test_the_factors_find_what_exact_ease_finds(prepared: PreparedData) -> None:
    found = measure_set(prepared, [5.0, 50.0])
    assert len(found["trials"]) == 4
    for trial in found["trials"]:
        assert trial["factors"] == pytest.approx(trial["cut"], rel=0.05)
