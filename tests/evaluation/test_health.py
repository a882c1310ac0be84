"""The health of interests on two users: one has all of them, the other lacks half."""

import numpy as np
import pytest

from multitudes.batches.held_out import HeldOut
from multitudes.batches.user_vectors import InterestKind, UserVectors
from multitudes.evaluation.health import interest_summary, source_measures, vector_measures

KINDS: tuple[InterestKind, ...] = ("implicit", "implicit", "explicit", "explicit")


@pytest.fixture
def found():
    mask = np.array([[True, True, True, False], [True, False, False, False]])
    vectors = np.stack([np.eye(4, dtype=np.float32)] * 2) * mask[:, :, None]
    none = np.zeros((2, 4), dtype=np.int64)
    users = UserVectors(KINDS, vectors, np.array([[0.5, 0.5, 1, 0], [1, 0, 0, 0]]) * mask, mask, none, none)
    held = HeldOut(np.arange(2), np.arange(2), np.array([0, 1, 2]), np.array([7, 9]), np.ones(2, dtype=np.bool_))
    lists = np.array([[7, 8], [8, 7]]), np.array([[1, 2], [0, -1]])
    overlap = {"overlap": np.array([0.25, 1.0])}
    return interest_summary(vector_measures(users) | source_measures(*lists, held, 4) | overlap, KINDS)


def test_slots_and_weights_of_interests_are_counted_over_all_users(found):
    assert found["empty_slots"]["mean"] == 1 / 4
    assert found["empty_topics"]["mean"] == 3 / 4
    assert found["effective"]["mean"] == pytest.approx((2 + 1) / 2)


def test_the_list_of_a_user_without_topics_counts_in_no_overlap(found):
    assert found["overlap"]["mean"] == 1 / 4


def test_every_column_has_its_share_of_candidates_and_hits(found):
    shares = {
        (s["source"], s["number"]): (s["candidate_share"]["mean"], s["hit_share"]["mean"]) for s in found["sources"]
    }
    assert shares == {
        ("popular", 0): (1 / 4, 0),
        ("implicit", 1): (1 / 4, 0),
        ("implicit", 2): (1 / 4, 1),
        ("explicit", 1): (1 / 4, 0),
        ("explicit", 2): (0, 0),
    }
