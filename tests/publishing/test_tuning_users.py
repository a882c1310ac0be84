"""What an index is tuned on when a run is published."""

import numpy as np

from multitudes.publishing.corpus import tuning_users
from multitudes.retrieval.config import RetrieveConfig
from tests.retrieval.worlds import user_vectors


def test_users_exclude_what_they_have_seen_and_those_without_a_vector_are_left_out():
    mask = [[True, True], [False, False], [True, False]]
    vectors = user_vectors(("unconditioned", "implicit"), np.ones((3, 2, 4)), mask_BK=mask)
    seen = [np.array([1, 2]), np.array([3]), np.array([4])]
    asked = tuning_users(vectors, seen, RetrieveConfig())
    assert [query.excluded.tolist() for query in asked] == [[1, 2], [4]]
    assert [len(query.vectors_KD) for query in asked] == [2, 1]
    assert tuning_users(vectors, seen, RetrieveConfig(blend="round_robin")) == [], "each vector is searched by itself"
