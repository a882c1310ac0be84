"""Explanations of candidates: the interest that fits best, on a scale that is the same for all vectors."""

import numpy as np

from multitudes.batches.user_vectors import InterestKind, UserVectors
from multitudes.retrieval.explanation import Explainer
from multitudes.retrieval.search import POPULAR, REPEAT, Candidates
from tests.retrieval.worlds import catalogue, user_vectors

RNG = np.random.default_rng(0)
WORLDS = np.eye(3)[np.repeat([0, 1], 60)] + 0.1 * RNG.standard_normal((120, 3))  # items 1 … 60, and 61 … 120
TOPICS = [[1]] * 60 + [[2]] * 60
KINDS: tuple[InterestKind, ...] = ("unconditioned", "implicit", "implicit")
TASTES = [[[9, 9, 0], [8, 3, 0], [0, 1, 0.1]]]  # the first interest has the longer vector


def candidates(items: list[int], brought_by: list[int], kinds: tuple[InterestKind, ...]) -> Candidates:
    found_by_NK = np.zeros((len(items), len(kinds)), dtype=np.bool_)
    score_N = np.zeros(len(items), dtype=np.float32)
    return Candidates(np.array(items), score_N, np.array(brought_by), found_by_NK, kinds, np.ones(len(kinds)))


def explain(vectors: UserVectors, items: list[int], brought_by: list[int] | None = None) -> list[int]:
    found = candidates(items, brought_by or [0] * len(items), vectors.kinds)
    explained_N = Explainer(catalogue(WORLDS, TOPICS).index).explain(vectors, 0, found)
    return [int(k) for k in explained_N]


def test_the_interest_that_an_item_fits_explains_what_the_whole_history_brought():
    vectors = user_vectors(KINDS, TASTES)
    assert explain(vectors, [1, 2, 61, 62, 30]) == [1, 1, 2, 2, 1]
    # The control: raw scores would name the longer vector for items of the other interest too.
    scores_KN = vectors.vectors_BKD[0, 1:] @ WORLDS[[60, 61]].T
    assert (scores_KN.argmax(axis=0) == 0).all()


def test_a_followed_topic_explains_its_own_items_only():
    vectors = user_vectors(("unconditioned", "implicit", "explicit"), [[[9, 9, 0], [1, 0, 0], [0, 1, 0]]])
    vectors.topic_BK[0, 2] = 2
    assert explain(vectors, [1, 61]) == [1, 2]
    only_topic = user_vectors(("unconditioned", "explicit"), [[[9, 9, 0], [0, 1, 0]]], topic_BK=[[0, 2]])
    assert explain(only_topic, [1, 61]) == [0, 1], "nothing but the whole history explains an item of another topic"


def test_own_and_popular_items_keep_what_brought_them():
    vectors = user_vectors(KINDS, TASTES)
    assert explain(vectors, [1, 61, 62], [POPULAR, REPEAT, 0]) == [POPULAR, REPEAT, 2]


def test_without_an_interest_the_whole_history_explains_all():
    assert explain(user_vectors(KINDS, TASTES, mask_BK=[[1, 0, 0]]), [1, 61]) == [0, 0]
    vectors = user_vectors(KINDS, [[[9, 9, 0], [0, 0, 0], [0, 0, 0]]])
    assert set(explain(vectors, [1, 61])) <= {1, 2}, "a vector of zeros is a vector"
