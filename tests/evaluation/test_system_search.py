"""The candidates of a system, found once for every kind of targets and every budget."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitudes.evaluation.system_search import Exclusion, SystemSearch
from multitudes.retrieval.config import Blend, RetrieveConfig
from multitudes.retrieval.search import find_candidates, search_vectors
from tests.retrieval.test_search import populations


def exclusion(catalogue, items):
    return Exclusion.of_items(items, int(catalogue.index.ids().max()) + 1)


def assert_same_lists(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.item_N.tolist() == other.item_N.tolist()
        assert one.interest_N.tolist() == other.interest_N.tolist()


@pytest.mark.parametrize("blend", get_args(Blend))
@given(world=populations(), data=st.data())
@settings(max_examples=40, deadline=None)
def test_one_search_finds_what_a_search_with_each_exclusion_finds(blend, world, data):
    items, vectors, own, n = world
    vectors = vectors._replace(events_B=np.arange(len(own)) % 2)
    config = RetrieveConfig(blend=blend, topics_per_request=2)
    search = SystemSearch(vectors, items, (max(1, n // 2), n), own, config)
    users = data.draw(st.sets(st.integers(0, len(own) - 1), min_size=1))
    row_B = np.array(sorted(users))
    for excluded in ([own[b] for b in row_B], [own[b][:1] for b in row_B], [own[b][:0] for b in row_B]):
        found = search.by_budget(row_B, exclusion(items, excluded))
        assert found.keys() == {max(1, n // 2), n}
        for budget, candidates in found.items():
            expected = find_candidates(vectors.select(row_B), items, budget, excluded, config)
            assert_same_lists(candidates, expected)


@pytest.mark.parametrize("blend", get_args(Blend))
@given(world=populations())
@settings(max_examples=20, deadline=None)
def test_lists_that_were_found_for_another_blend_give_the_same(blend, world):
    items, vectors, own, n = world
    row_B, excluded = np.arange(len(own)), exclusion(items, own)
    search = SystemSearch(vectors, items, (n,), own, RetrieveConfig(blend=blend, topics_per_request=2))
    lists = search_vectors(vectors, items, 6 * n, own, RetrieveConfig(blend="round_robin", topics_per_request=2))
    assert_same_lists(search.by_budget(row_B, excluded, lists)[n], search.by_budget(row_B, excluded)[n])
