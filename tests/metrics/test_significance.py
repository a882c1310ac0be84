"""Holm's correction and comparisons over data sets, against known values, SciPy, and their own error rates."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from multitudes.metrics.significance import (
    adjust_holm,
    average_ranks,
    cliques,
    middle_ranks,
    min_data_sets,
    pairwise_p_values,
    wilcoxon_p_value,
)


def test_holm_agrees_with_its_definition_and_a_missing_comparison_changes_no_other():
    p = np.random.default_rng(0).random(30) ** 4
    rejected, order = set(), np.argsort(p)
    for step, number in enumerate(order):
        if p[number] > 0.05 / (len(p) - step):
            break
        rejected.add(number)
    assert 0 < len(rejected) < len(p)
    assert set(np.flatnonzero(adjust_holm(p) <= 0.05)) == rejected
    assert adjust_holm(np.array([0.02, np.nan, 0.03])) == pytest.approx([0.04, np.nan, 0.04], nan_ok=True)
    assert len(adjust_holm(np.array([]))) == 0


@pytest.mark.parametrize("n_sets", [1, 4, 7, 12])
def test_the_signed_rank_test_is_scipys_exact_one(n_sets):
    difference = np.random.default_rng(n_sets).normal(0.4, 1, size=n_sets)
    assert wilcoxon_p_value(difference) == pytest.approx(stats.wilcoxon(difference, method="exact").pvalue)


def test_equal_sizes_share_their_ranks_and_zeros_say_nothing():
    difference = np.array([1.0, -1.0, 2.0, 2.0, 0.0, 3.0])
    kept = difference[difference != 0]
    sums = [
        sum(r for r, s in zip(middle_ranks(abs(kept)), signs, strict=True) if s) for signs in product([0, 1], repeat=5)
    ]
    own = middle_ranks(abs(kept))[kept > 0].sum()
    assert wilcoxon_p_value(difference) == pytest.approx(2 * np.mean(np.array(sums) >= own))
    assert wilcoxon_p_value(np.zeros(4)) == 1


def test_the_best_score_has_rank_one_and_ties_the_middle():
    assert average_ranks(np.array([[0.3, 0.2, 0.1], [0.2, 0.2, 0.1]])) == pytest.approx([1.25, 1.75, 3])


def test_below_min_data_sets_no_pair_differs_and_from_there_on_the_clearest_does():
    for n_methods in (2, 3, 6):
        ladder = np.linspace(0.5, 0.1, n_methods)
        needed = min_data_sets(n_methods)
        few, enough = (np.tile(ladder, (n_sets, 1)) for n_sets in (needed - 1, needed))
        assert pairwise_p_values(few)[0, -1] > 0.05
        assert pairwise_p_values(enough)[0, -1] <= 0.05


def test_a_gain_counts_against_the_figure_that_it_is_a_gain_of():
    """One loss of .02 at .50, eleven gains of .01 at .05: the largest by itself is the smallest as a share."""
    scores = np.array([[0.50, 0.52], *[[0.06, 0.05]] * 11])
    assert pairwise_p_values(scores)[0, 1] == pytest.approx(wilcoxon_p_value(np.array([-1.0, *[2.0] * 11])))
    assert pairwise_p_values(scores)[0, 1] < wilcoxon_p_value(scores[:, 0] - scores[:, 1])


def test_two_equal_methods_do_not_differ_because_of_others_between_them():
    """Control: Nemenyi's critical difference calls them different one time in eight on four sets."""
    rng = np.random.default_rng(0)
    critical = 2.850 * np.sqrt(6 * 7 / (6 * 4))  # six methods, four sets, 5 %: Demšar 2006, table 5
    nemenyi = ours = 0
    for _ in range(400):
        outer = np.where(rng.random((4, 1)) < 0.5, [[0.2, 0.8]], [[0.8, 0.2]])
        scores = np.concatenate([outer, np.tile([0.4, 0.5, 0.6, 0.7], (4, 1))], axis=1)
        rank = average_ranks(scores)
        nemenyi += abs(rank[0] - rank[1]) >= critical
        ours += pairwise_p_values(scores)[0, 1] < 0.05
    assert nemenyi / 400 > 0.08
    assert ours == 0


def test_a_bar_joins_the_longest_runs_without_a_difference():
    differs = np.zeros((4, 4), dtype=bool)
    differs[0, 3] = differs[3, 0] = differs[0, 2] = differs[2, 0] = True
    assert cliques(np.array([1.0, 2.0, 3.0, 4.0]), differs) == [[0, 1], [1, 2, 3]]
    assert cliques(np.array([4.0, 3.0, 2.0, 1.0]), np.zeros((4, 4), dtype=bool)) == [[3, 2, 1, 0]]
    assert cliques(np.array([1.0, 2.0]), ~np.eye(2, dtype=bool)) == []
