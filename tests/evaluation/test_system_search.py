"""The candidates of a system, from lists that several systems share."""

import numpy as np
import pytest
from hypothesis import given, settings

from multitudes.evaluation.system_search import lists_of_columns, search_system
from multitudes.retrieval.allocation import proposals
from multitudes.retrieval.blend import BLENDS
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.search import find_candidates, search_vectors
from tests.retrieval.test_search import populations


@pytest.mark.parametrize("blend", BLENDS)
@given(world=populations())
@settings(max_examples=40, deadline=None)
def test_shared_lists_give_what_a_search_for_each_budget_gives(blend, world):
    items, vectors, own, n = world
    vectors = vectors._replace(events_B=np.arange(len(own)) % 2)
    config = RetrieveConfig(blend=blend)
    budgets = (max(1, n // 2), max(1, n))
    shared = search_vectors(vectors, items, proposals(vectors, budgets[1]), own, config)
    for kind in (None, *set(vectors.kinds)):
        chosen_K = np.array([kind in (None, column) for column in vectors.kinds])
        some = vectors if kind is None else vectors.of_kind(kind)
        found = search_system(some, items, budgets, own, config, lists_of_columns(shared, chosen_K))
        assert found.keys() == {*budgets}
        for budget, candidates in found.items():
            for one, other in zip(candidates, find_candidates(some, items, budget, own, config), strict=True):
                assert one.item_N.tolist() == other.item_N.tolist()
                assert one.interest_N.tolist() == other.interest_N.tolist()
