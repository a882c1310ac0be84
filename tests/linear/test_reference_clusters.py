"""The reference clusters, in a world of two tastes that no user mixes but one."""

import numpy as np
import pytest

from multitudes.batches.held_out import held_out_users
from multitudes.evaluation.list_metrics import ItemFacts
from multitudes.evaluation.outcomes import list_measures, list_ratios, target_measures
from multitudes.linear.reference_clusters import ReferenceClusters
from tests.evaluation.worlds import prepared

TASTE, USERS = 8, 30  # items of a taste, users of one
FIRST, SECOND = list(range(1, TASTE + 1)), list(range(TASTE + 1, 2 * TASTE + 1))
# The last user but one has both tastes, the last one no history.
MIXED = [*FIRST[:3], *SECOND[:2]]
WANTED = [FIRST[3], FIRST[4], SECOND[3]]


def world(tmp_path, future=None):
    rng = np.random.default_rng(0)
    of_one = [rng.choice(taste, size=5, replace=False).tolist() for taste in (FIRST, SECOND) for _ in range(USERS)]
    past = [*of_one, MIXED, []]
    topics = [[1, 2] if item in FIRST else [3] for item in (*FIRST, *SECOND)]
    return prepared(tmp_path, past, future or [[row[0]] for row in of_one] + [WANTED, [1]], topics)


def measured(data, list_N):
    held = held_out_users(data, "test")
    reference, facts = ReferenceClusters.from_prepared(data).interests(data, held), ItemFacts.from_prepared(data)
    measures = list_measures(np.tile(list_N, (len(held), 1)), held, facts, None, reference)
    return measures, target_measures(held, facts, None, reference)


def test_clusters_come_from_items_that_the_same_training_users_have_and_topics_from_the_first(tmp_path):
    cluster_I = ReferenceClusters.from_prepared(world(tmp_path)).cluster_I
    assert cluster_I[0] == -1
    assert not set(cluster_I[FIRST]) & set(cluster_I[SECOND])
    other = [[SECOND[b % TASTE], FIRST[b % TASTE]] for b in range(2 * USERS + 2)]
    first, second = (ReferenceClusters.from_prepared(world(tmp_path, future)).cluster_I for future in (None, other))
    assert first.tolist() == second.tolist()
    topic_I = ReferenceClusters.from_prepared(world(tmp_path)).topic_I
    assert topic_I.tolist() == [-1, *[1] * TASTE, *[3] * TASTE]


def test_a_list_of_all_tastes_of_a_user_serves_the_most(tmp_path):
    data = world(tmp_path)
    both, head = ([FIRST[3], FIRST[5], *SECOND[3:5]], [*FIRST[3:7]])
    (of_both, _), (of_head, _) = measured(data, both), measured(data, head)
    user = 2 * USERS
    assert of_both["hits"][user] == of_head["hits"][user] == 2
    assert of_both["topics_served"][user] == 1 > of_head["topics_served"][user] == 0.5
    assert of_both["served"][user] > of_head["served"][user]
    assert of_both["kl"][user] < of_head["kl"][user]
    assert (of_both["other_hits"][user], of_head["other_hits"][user]) >= (1, 0)
    of_both, of_head = (measured(world(tmp_path), row)[0] for row in ([1, 2, 9, 10], [1, 2, 3, 4]))
    assert of_both["topics_served"][0] == of_head["topics_served"][0] == 1
    measures, targets = measured(world(tmp_path), [1, 2])
    ratios = list_ratios(measures, targets)
    for name in ("served", "kl", "head_excess", "topics_served", "topics_kl"):
        assert np.isnan(measures[name]).tolist() == [False] * (2 * USERS + 1) + [True]
        assert ratios[name].denominator_B.sum() == 2 * USERS + 1
    assert measures["other_hits"][-1] == targets["other_targets"][-1] == 0


@pytest.mark.parametrize("topics", [[], [1]])
def test_items_without_topics_or_training_have_no_class(tmp_path, topics):
    data = prepared(tmp_path, [[1]], [[2]], [topics, topics])
    clusters = ReferenceClusters.from_prepared(data)
    assert clusters.cluster_I.tolist() == [-1, -1, -1]  # too few items for a cluster
    measures, targets = measured(data, [2, 1])
    assert np.isnan(measures["served"]).all()
    ratios = list_ratios(measures, targets).values()
    assert all(np.isfinite(values_B).all() for ratio in ratios for values_B in ratio)
