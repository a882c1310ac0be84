"""How many excluded items stand above the last result, guessed in a world whose scores are spread as tuned."""

from statistics import NormalDist

import numpy as np
import pytest

from multitudes.index import depth as module
from multitudes.index.depth import Depths, guessed, plain
from multitudes.index.rows import checked_rows
from multitudes.index.spread import Spread
from multitudes.index.tuning import Level

ITEMS = 10_000
ALL = np.arange(4)
QUERY = np.array([[3.0, 4.0]], dtype=np.float32)


def levels(known: bool = True) -> list[Level]:
    """Return levels that know how high a result stands among normal scores."""
    height = {depth: NormalDist().inv_cdf(1 - depth / ITEMS) for depth in (10, 20, 50, 100, 200, 500, 1_000)}
    return [Level(depth, 1, depth * 2, 1.0, 1.0, 1.0, height[depth] if known else None) for depth in height]


@pytest.fixture(name="rows")
def _rows():
    return checked_rows(np.arange(ITEMS), np.random.default_rng(0).standard_normal((ITEMS, 2)) + 7)


def guess(rows, limit: int, excluded, known: bool = True) -> tuple[int, int]:
    """Return the depth, and the place of the last result."""
    depths = guessed(rows, Spread(rows), levels(known), QUERY, np.array([limit]), np.asarray(excluded))
    return int(depths.depth_Q[0]), int(depths.place_Q[0])


def test_the_best_stand_above_and_the_worst_never(rows):
    best = np.argsort(-(rows.vectors_nD @ QUERY[0]))
    every_other, worst = np.sort(best[:1_000:2]), np.sort(best[-400:])
    for excluded in (100, 400):
        depth, place = guess(rows, 50, np.sort(best[:excluded]))
        assert place == pytest.approx(50 + excluded, rel=0.15)
        assert depth == pytest.approx(50 + 2 * excluded, rel=0.15), "the middle one in the upper half"
    assert guess(rows, 100, every_other) == pytest.approx((200, 200), rel=0.15)
    assert guess(rows, 50, worst)[0] == guess(rows, 50, [])[0] == 50
    assert guess(rows, 100, every_other, known=False)[0] == 100, "the control: tuned without heights"


def test_of_many_that_are_excluded_some_are_enough_to_guess_by(rows, monkeypatch):
    best, worst = (np.sort(np.argsort(sign * (rows.vectors_nD @ QUERY[0]))[:400]) for sign in (-1, 1))
    monkeypatch.setattr(module, "_LOOKED_AT", 100)
    assert guess(rows, 50, best)[1] == pytest.approx(450, rel=0.15)
    assert guess(rows, 50, worst)[0] == 50


def test_what_stands_higher_than_its_level_is_deep_is_searched_with_fewer_proposals():
    depths = Depths(np.array([100, 104, 400, 400]), np.array([100, 104, 450, 250]))
    searched = [(level and (level.depth, level.proposals), at.tolist()) for level, at in depths.levels(levels(), ALL)]
    assert searched == [((100, 200), [0]), ((200, 280), [1]), ((500, 1_000), [2]), ((500, 700), [3])]


def test_without_a_filter_each_is_searched_at_its_own_level_with_all_proposals():
    searched = list(plain(np.array([101, 7, 1_001])).levels(levels(), np.arange(3)))
    assert [(level and (level.depth, level.proposals), where.tolist()) for level, where in searched] == [
        ((10, 20), [1]),
        ((200, 400), [0]),
        (None, [2]),
    ]
