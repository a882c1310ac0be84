"""Coverage of interests, beside formulas written out element by element, and on two lists with equal hits."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitudes.metrics import coverage, ranking

N, CLASSES = 6, 3


@st.composite
def worlds(draw):
    """Draw users with histories, lists and targets of items 1 to 12, and a class of each item, −1: none."""
    users = draw(st.integers(1, 4))
    items = st.lists(st.integers(1, 12), unique=True, max_size=8)
    class_I = np.array([-1, *draw(st.lists(st.integers(-1, CLASSES - 1), min_size=12, max_size=12))])
    histories = draw(st.lists(items, min_size=users, max_size=users))
    lists = [row[:N] for row in draw(st.lists(items, min_size=users, max_size=users))]
    targets = draw(st.lists(items, min_size=users, max_size=users))
    return class_I, histories, lists, targets


def shares(rows, class_I):
    user = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    item = np.concatenate([np.zeros(0, dtype=int), *map(np.array, rows)]).astype(int)
    return coverage.class_shares(user, class_I[item], (len(rows), CLASSES))


approx = partial(pytest.approx, nan_ok=True)


def flat(targets):
    return np.cumsum([0, *map(len, targets)]), np.concatenate([np.zeros(0), *map(np.array, targets)]).astype(int)


def share(row, class_I, c):
    return sum(class_I[item] == c for item in row) / max(len(row), 1)


@given(worlds())
@settings(deadline=None)
def test_shares_of_lists_are_compared_with_those_of_histories(world):
    class_I, histories, lists, _ = world
    history_BC, list_BC = shares(histories, class_I), shares(lists, class_I)
    for b, (past, row) in enumerate(zip(histories, lists, strict=True)):
        p, q = ([share(items, class_I, c) for c in range(CLASSES)] for items in (past, row))
        held = [c for c in range(CLASSES) if p[c] >= 0.03]
        found = [c for c in held if q[c] >= p[c] / 2]
        kl = sum(x * np.log(x / (0.99 * y + 0.01 * x)) for x, y in zip(p, q, strict=True) if x)
        head = p.index(max(p))
        assert coverage.served_share(list_BC, history_BC)[b] == approx(len(found) / len(held) if held else np.nan)
        assert coverage.miscalibration(list_BC, history_BC)[b] == approx(kl if held else np.nan)
        assert coverage.head_excess(list_BC, history_BC)[b] == approx(q[head] - p[head] if held else np.nan)


def test_a_class_is_an_interest_from_three_percent_of_the_history():
    history_BC = np.array([[0.95, 0.03, 0.02], [1.0, 0.0, 0.0]])
    assert coverage.is_interest(history_BC).tolist() == [[True, True, False], [True, False, False]]
    assert coverage.served_share(np.array([[1.0, 0.0, 0.0]] * 2), history_BC).tolist() == [0.5, 1.0]


@given(worlds())
@settings(deadline=None)
def test_hits_are_counted_by_the_class_of_the_target(world):
    class_I, histories, lists, targets = world
    offset, target_T = flat(targets)
    hit_T = np.array([t in row for row, of_user in zip(lists, targets, strict=True) for t in of_user], dtype=bool)
    found = coverage.hits_by_class(hit_T, class_I[target_T], offset, CLASSES)
    beside_T = coverage.is_beside_head(class_I[target_T], offset, shares(histories, class_I))
    for b, (start, end) in enumerate(pairwise(offset)):
        p = [share(histories[b], class_I, c) for c in range(CLASSES)]
        recalls = []
        for c in range(CLASSES):
            of_class = [t for t in targets[b] if class_I[t] == c]
            hits = [t for t in of_class if t in lists[b]]
            assert found.hits_BC[b, c] == len(hits)
            recalls += [len(hits) / len(of_class)] if of_class else []
        assert found.mean_recall_B[b] == approx(np.mean(recalls) if recalls else np.nan)
        assert found.worst_recall_B[b] == approx(min(recalls, default=np.nan))
        expected = [max(p) > 0 and class_I[t] != p.index(max(p)) for t in targets[b]]
        assert beside_T[start:end].tolist() == expected


@given(worlds())
@settings(deadline=None)
def test_alpha_ndcg_is_the_gain_of_the_list_beside_that_of_a_greedy_one(world):
    class_I, _, lists, targets = world
    offset, target_T = flat(targets)
    ranked_BN = np.array([row + [0] * (N - len(row)) for row in lists])
    rank_T = ranking.ranks_in_list(ranked_BN, offset, target_T)
    found_B = coverage.alpha_ndcg(rank_T, class_I[target_T], offset, CLASSES, N)

    def gain(row, wanted):
        seen, total = dict.fromkeys(range(-1, CLASSES), 0), 0.0
        for rank, item in enumerate(row, start=1):
            if item in wanted and class_I[item] >= 0:
                total += 0.5 ** seen[class_I[item]] / np.log2(rank + 1)
                seen[class_I[item]] += 1
        return total

    for b, wanted in enumerate(targets):
        best: list[int] = []
        left = [t for t in wanted if class_I[t] >= 0]
        while left and len(best) < N:
            best.append(max(left, key=lambda t: gain([*best, t], wanted)))
            left.remove(best[-1])
        assert found_B[b] == approx(gain(lists[b], wanted) / gain(best, wanted) if best else np.nan)


def test_the_depth_is_the_median_rank_of_the_first_item_of_each_interest():
    class_I = np.array([-1, 0, 0, 1, 2, 2])
    score_BI = np.array([[-np.inf, 5.0, 4, 3, 2, 1], [-np.inf, 1, -np.inf, 3, 4, 5], [-np.inf, 1, 2, 3, 4, 5]])
    history_BC = np.array([[0.5, 0.48, 0.02], [0.2, 0.4, 0.4], [0, 0, 0]])
    # User 0: ranks 1 and 3, and a class that is no interest. User 1: ranks 4, 3, 1. User 2 has no interest.
    assert coverage.depth_at_coverage(score_BI, class_I, history_BC).tolist()[:2] == [2, 3]
    assert np.isnan(coverage.depth_at_coverage(score_BI, class_I, history_BC)[2])
