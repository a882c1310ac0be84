"""How deep a request is searched, with an engine that proposes the best items and records its calls."""

import numpy as np
import pytest

from multitudes.index.approximate import ApproximateIndex
from multitudes.index.item_table import make_item_table
from multitudes.index.tuning import DEFAULT_TARGET, Level, Tuning
from tests.index.worlds import by_topic

ITEMS = 1_000  # item i scores −i
_ONE = np.ones((1, 1), dtype=np.float32)


class Best:
    """Proposes items 0, 1, 2, …; effort is the depth of the level that was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def efforts(self) -> list[int]:
        return [1]

    def propose(self, query_QD, effort_Q, count_Q):
        self.asked += effort_Q.tolist()
        place = np.arange(count_Q.max())
        assert len(query_QD) == len(count_Q)
        return np.where((place < count_Q[:, None]) & (place < ITEMS), place, -1)


@pytest.fixture(name="engine")
def _engine() -> Best:
    return Best()


def index(engine, topics=None, height=lambda _: np.inf) -> ApproximateIndex:
    """Return an index of levels at such heights that no excluded item is expected above the last result."""
    rows = make_item_table(np.arange(ITEMS), -np.arange(ITEMS, dtype=np.float32)[:, None], topics)
    levels = tuple(Level(depth, depth, depth + 10, 1.0, 1.0, 1.0, height(depth)) for depth in (10, 20, 50, 100))
    return ApproximateIndex(rows, engine, Tuning(levels, DEFAULT_TARGET, "queries", 1, 1))


def ask(approximate: ApproximateIndex, limit: int, excluded=None, topic: int = 0, query_QD=_ONE) -> list[int]:
    topic_Q = np.array([topic])
    without = None if excluded is None else [np.asarray(excluded)]
    hits = approximate.search(query_QD, limit, excluded=without, topic_Q=topic_Q)
    return [int(i) for i in hits.ids(0)]


@pytest.mark.parametrize(
    ("limit", "excluded", "found", "asked"),
    [
        (11, None, range(11), [20]),
        (8, range(500, 900), range(8), [10]),
        (10, range(8), range(8, 18), [10, 20, 50]),  # a level deeper each time
        (2, range(40), [40, 41], [10, 20, 50]),  # then a scan
    ],
)
def test_exclusions_cost_further_searches_only_where_the_best_are_excluded(engine, limit, excluded, found, asked):
    assert ask(index(engine), limit, excluded) == list(found)
    assert engine.asked == asked


def test_the_scores_of_the_excluded_items_tell_the_depth_before_the_search(engine):
    score_n = -np.arange(ITEMS)
    known = index(engine, height=lambda depth: float((score_n[depth - 1] - score_n.mean()) / score_n.std()))
    assert ask(known, 2, excluded=range(40)) == [40, 41]
    assert ask(known, 2, excluded=[0]) == [1, 2]
    assert ask(known, 8, excluded=range(500, 900)) == list(range(8))
    assert engine.asked == [100, 10, 10]


def test_beyond_the_tuned_depths_and_for_zeros_a_query_is_scanned(engine):
    assert ask(index(engine), 101) == list(range(101))
    assert ask(index(engine), 2, excluded=range(300)) == [300, 301]
    assert engine.asked == [10, 20, 50], "the second, before its scan"
    zero = np.zeros((1, 1), dtype=np.float32)
    assert ask(index(engine), 12, query_QD=zero) == list(range(12))
    assert ask(index(engine), 12, excluded=[0, 3, 2_000, 12], query_QD=zero) == [1, 2, *range(4, 12), 13, 14]
    assert ask(index(engine, by_topic(np.arange(ITEMS) % 2 == 1)), 3, topic=1, query_QD=zero) == [1, 3, 5]
    assert engine.asked == [10, 20, 50], "nothing more"


def test_queries_with_different_exclusions_share_a_call(engine, monkeypatch):
    calls, propose = [], engine.propose

    def noted(query_QD, effort_Q, count_Q):
        calls.append(len(query_QD))
        return propose(query_QD, effort_Q, count_Q)

    monkeypatch.setattr(engine, "propose", noted)
    excluded = [np.arange(q, 20 + q, 9) for q in range(8)]
    hits = index(engine).search(np.ones((8, 1), np.float32), 40, excluded=excluded)
    assert calls == [8]
    for q in range(8):
        assert hits.ids(q).tolist() == [i for i in range(50) if i not in excluded[q]][:40]


def test_a_query_with_too_few_proposals_is_searched_deeper(engine, monkeypatch):
    def some(query_QD, effort_Q, count_Q):
        engine.asked += effort_Q.tolist()
        row = np.arange(count_Q.max())
        return np.where(row < 0.6 * effort_Q[:, None], row, -1)

    monkeypatch.setattr(engine, "propose", some)
    assert ask(index(engine), 40) == list(range(40))
    assert engine.asked == [50, 100]
