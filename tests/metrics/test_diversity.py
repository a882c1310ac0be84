"""Topics reached, the classes of popularity, and distinct and collapsed interests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitudes.metrics import diversity

# item 1: topic 1 · item 2: topics 1 and 2 · item 3: none · item 4: topic 3
TOPIC_OFFSET = np.array([0, 0, 1, 3, 3, 4])
TOPIC = np.array([1, 1, 2, 3])


def counts(pairs, n_users=2):
    user, item = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return diversity.topic_counts(user, item, TOPIC_OFFSET, TOPIC, (n_users, 4))


def test_topics_are_counted_for_each_user_apart_and_once():
    assert counts([(0, 1), (0, 2), (1, 4)]).tolist() == [[0, 2, 1, 0], [0, 0, 0, 1]]
    assert counts([(0, 3)]).sum() == 0
    assert counts([]).sum() == 0
    assert diversity.coverage(counts([(0, 1), (0, 2), (0, 4)])).tolist() == [3, 0]


def test_entropy_and_popularity_are_those_of_the_definitions():
    even, certain = diversity.entropy(counts([(0, 1), (0, 4), (1, 4), (1, 4)]))
    assert even == pytest.approx(np.log(2))
    assert certain == 0
    count = np.array([0, 50, 20, 10, 10, 10])
    assert diversity.popularity_class(count).tolist() == [2, 0, 1, 1, 2, 2]


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=50))
def test_no_item_of_a_lower_class_is_more_popular(count):
    count = np.array(count)
    classes = diversity.popularity_class(count)
    for lower in (1, 2):
        below, above = count[classes >= lower], count[classes < lower]
        assert below.max(initial=0) <= above.min(initial=1000)
    head = count[classes == 0].sum()
    assert count.sum() == 0 or head >= count.sum() / 2


def test_equal_weights_count_fully_and_overlap_leaves_padding_out():
    weight = np.array([[0.25] * 4, [1, 0, 0, 0], [0, 0, 0, 0]])
    assert diversity.effective_interests(weight) == pytest.approx([4, 1, 0])
    first = np.array([[1, 2, 3, 0], [1, 2, 0, 0], [0, 0, 0, 0]])
    second = np.array([[3, 4, 5, 0], [2, 1, 7, 0], [1, 2, 0, 0]])
    assert diversity.overlap(first, second)[:2].tolist() == [1 / 3, 1]
    assert np.isnan(diversity.overlap(first, second)[2])


def test_collapsed_interests_have_cosine_one_separate_ones_zero_and_one_alone_none():
    same = np.ones((1, 3, 3)) * np.array([1, 2, 5])[:, None]  # the length does not matter
    vectors = np.concatenate([same, np.eye(3)[None]])
    assert diversity.mean_pairwise_cosine(vectors, np.ones((2, 3), dtype=bool)) == pytest.approx([1, 0])
    vectors = np.stack([np.eye(3)[[0, 1, 0]]])
    mask = np.array([[True, True, False]])
    assert diversity.mean_pairwise_cosine(vectors, mask) == pytest.approx([0])
    assert diversity.mean_pairwise_cosine(vectors, np.ones_like(mask)) == pytest.approx([1 / 3])
    assert np.isnan(diversity.mean_pairwise_cosine(np.ones((1, 2, 2)), np.array([[True, False]]))).all()
