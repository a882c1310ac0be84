"""The candidates of a system, found once for every budget."""

import numpy as np
import pytest
from hypothesis import given, settings

from multitudes.evaluation.system_search import search_system
from multitudes.retrieval.blend import BLENDS
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.search import find_candidates
from tests.retrieval.test_search import populations


@pytest.mark.parametrize("blend", BLENDS)
@given(world=populations())
@settings(max_examples=40, deadline=None)
def test_one_search_finds_what_a_search_for_each_budget_finds(blend, world):
    items, vectors, own, n = world
    vectors = vectors._replace(events_B=np.arange(len(own)) % 2)
    config = RetrieveConfig(blend=blend)
    found = search_system(vectors, items, (max(1, n // 2), n), own, config)
    assert found.keys() == {max(1, n // 2), n}
    for budget, candidates in found.items():
        for one, other in zip(candidates, find_candidates(vectors, items, budget, own, config), strict=True):
            assert one.item_N.tolist() == other.item_N.tolist()
            assert one.interest_N.tolist() == other.interest_N.tolist()
