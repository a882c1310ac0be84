"""The marginals are what they are called, on tables small enough to count by hand."""

import numpy as np
import polars as pl
import pytest
from benchmarks.simulate.calibration import SHARES, gini, marginals, topics_in_ten

DAY_S = 86_400
ITEMS = pl.DataFrame({"item_id": [1, 2, 3, 4], "topics": [["a"], ["b"], ["a", "b"], []]})


def events(user, item, time):
    return pl.DataFrame({"user_id": user, "item_id": item, "timestamp": time})


def test_the_figures_of_three_users():
    found = marginals(events([1, 1, 1, 2, 3], [1, 1, 2, 1, 4], [0, 10, DAY_S, 5 * DAY_S, 10 * DAY_S]), ITEMS)
    assert (found["events"], found["users"], found["items"]) == (5, 3, 3)
    assert found["history"]["p50"] == 1
    assert found["history"]["curve"][-1] == 3
    assert found["repeat_share"] == pytest.approx(1 / 5)
    assert found["popularity"]["0.01"] == pytest.approx(3 / 5)  # one item at least
    assert found["popularity"]["1.0"] == pytest.approx(1)
    assert found["days"]["active_in_30"]["p50"] == pytest.approx(3)  # one day of ten
    assert found["days"]["events_a_day"]["curve"][-1] == pytest.approx(1.5)


def test_gini_is_zero_for_equals_and_near_one_for_a_monopoly():
    assert gini(np.array([5, 5, 5, 5])) == 0
    assert gini(np.array([0] * 99 + [7])) == pytest.approx(0.99)
    assert gini(np.array([1, 3])) == pytest.approx(0.25)


def test_topics_among_ten_events_do_not_grow_with_the_history_and_are_no_figure_for_nobody():
    short, long = (events([1] * n, [1, 2] * (n // 2), range(n)) for n in (10, 1000))
    expected = pytest.approx(2 * (1 - 0.5**10))
    assert topics_in_ten(short, ITEMS)[0] == topics_in_ten(long, ITEMS)[0] == expected
    assert topics_in_ten(events([1] * 10, [3] * 10, range(10)), ITEMS)[0] == expected  # half an event each
    assert topics_in_ten(events([1] * 10, [1] * 10, range(10)), ITEMS)[0] == 1
    found = marginals(events([1, 2], [1, 2], [0, 1]), ITEMS)["topics"]
    assert found["p50"] is None
    assert found["curve"] is None
    assert len(SHARES) == 21
    assert marginals(events([1, 1], [1, 2], [0, 1]), ITEMS)["days"] is None
