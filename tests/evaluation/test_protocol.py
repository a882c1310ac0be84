"""The paper's figure on a corpus of four items, rank by rank."""

import numpy as np

from multitudes.batches.held_out import HeldOut
from multitudes.batches.user_vectors import UserVectors
from multitudes.evaluation.protocol import max_score_ranks

# Scores of items 0 to 4 under vector (1, 0) are 9, 3, 0, 0, 0; under (0, 1) they are 9, 0, 2, 1, 1.
ITEMS = np.array([[9, 9], [3, 0], [0, 2], [0, 1], [0, 1]], dtype=np.float32)


def ranks(mask, target, seen=()):
    """Return the ranks of one user's targets; the user has the vectors (1, 0) and (0, 1) where the mask says so."""
    vectors = UserVectors(
        kinds=("implicit", "implicit"),
        vectors_BKD=np.eye(2, dtype=np.float32)[None],
        weight_BK=np.array([[0.5, 0.5]], dtype=np.float32),
        mask_BK=np.array([mask]),
        topic_BK=np.zeros((1, 2), dtype=np.int64),
        assignment_BL=np.zeros((1, 1), dtype=np.int64),
    )
    offset = np.array([0, len(target)])
    held = HeldOut(np.array([0]), np.array([0]), offset, np.array(target), np.ones(len(target), dtype=np.bool_))
    return max_score_ranks(vectors, ITEMS, held, [np.array(seen, dtype=np.int64)]).tolist()


def test_an_item_scores_the_best_of_the_vectors_and_ties_share_the_middle():
    assert ranks([True, True], [1, 2, 3, 4]) == [1, 2, 3.5, 3.5]


def test_a_masked_vector_has_no_say():
    assert ranks([True, False], [1, 2]) == [1, 3]  # items 2, 3 and 4 tie at zero
    assert ranks([False, True], [1, 2]) == [4, 1]


def test_the_unknown_item_is_not_ranked_though_it_would_be_first():
    assert ranks([True, True], [1]) == [1]


def test_seen_items_make_room():
    assert ranks([True, True], [2, 3], seen=[1]) == [1, 2.5]


def test_a_user_without_vectors_misses_everything():
    assert ranks([False, False], [1, 2]) == [np.inf, np.inf]


def test_an_item_without_a_vector_is_not_ranked(monkeypatch):
    monkeypatch.setitem(globals(), "ITEMS", np.array([[9, 9], [0, 0], [-1, 2], [-2, 1], [0, 0]], dtype=np.float32))
    assert ranks([True, False], [2, 3, 1]) == [1, 2, np.inf]  # items 1 and 4 would tie at zero, before both
