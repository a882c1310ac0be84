"""The estimated number of excluded items above the last result, with scores distributed as tuned."""

from statistics import NormalDist

import numpy as np
import pytest

from multitudes.index import search_depth as module
from multitudes.index.item_table import make_item_table
from multitudes.index.search_depth import ExcludedScores, ScoreDistribution

ITEMS = 10_000
MARGIN = module._MARGIN
QUERY = np.array([[3.0, 4.0]], dtype=np.float32)


# How high a result of each depth stands among normal scores.
HEIGHTS = [(np.log(depth), NormalDist().inv_cdf(1 - depth / ITEMS)) for depth in (10, 20, 50, 100, 200, 500, 1_000)]


@pytest.fixture(name="rows")
def _rows():
    return make_item_table(np.arange(ITEMS), np.random.default_rng(0).standard_normal((ITEMS, 2)) + 7)


def guess(rows, limit: int, excluded) -> int:
    """Return the depth."""
    outside = ExcludedScores.compute(rows, QUERY, [np.asarray(excluded)])
    return int(outside.estimate_depth(ScoreDistribution(rows), HEIGHTS, QUERY, np.array([limit]))[0])


def test_excluded_items_deepen_the_search_only_if_they_score_high(rows):
    best = np.argsort(-(rows.vectors_nD @ QUERY[0]))
    every_other, worst = np.sort(best[:1_000:2]), np.sort(best[-400:])
    for excluded in (100, 400):
        depth = guess(rows, 50, np.sort(best[:excluded]))
        assert depth == pytest.approx(MARGIN * (50 + 2 * excluded), rel=0.15), "the middle one in the upper half"
    assert guess(rows, 100, every_other) == pytest.approx(MARGIN * 200, rel=0.15)
    assert guess(rows, 50, worst) == 50


def test_a_sample_of_many_excluded_items_is_enough_for_an_estimate(rows, monkeypatch):
    best, worst = (np.sort(np.argsort(sign * (rows.vectors_nD @ QUERY[0]))[:400]) for sign in (-1, 1))
    monkeypatch.setattr(module, "_EXCLUDED_SAMPLE", 100)
    assert guess(rows, 50, best) == pytest.approx(MARGIN * 850, rel=0.15)
    assert guess(rows, 50, worst) == 50


def test_the_scores_of_the_results_give_their_depth(rows):
    score_n = rows.vectors_nD @ QUERY[0]
    best = np.argsort(-score_n)
    left = np.array([score_n[best[10:30]]])  # twenty results below ten that are excluded
    outside = ExcludedScores.compute(rows, QUERY, [np.sort(best[:10])])
    assert outside.search_depth(left, np.array([20])).tolist() == [2 * (10 + 10) - 1]
    none_above = ExcludedScores.compute(rows, QUERY, [np.sort(best[30:60])])
    assert none_above.search_depth(left, np.array([20])).tolist() == [20]
