"""The systems of a run, and ranks by maximum score."""

import numpy as np
import pytest

from multitudes.batches.held_out import HeldOut
from multitudes.evaluation.protocol import average_vectors, batch_size_and_threads, max_score_ranks, max_scores, systems
from multitudes.evaluation.system_search import Exclusion
from multitudes.retrieval.config import RetrieveConfig
from tests.retrieval.worlds import user_vectors

# Scores of items 0 to 4 under vector (1, 0) are 9, 3, 0, 0, 0; under (0, 1) they are 9, 0, 2, 1, 1.
ITEMS = np.array([[9, 9], [3, 0], [0, 2], [0, 1], [0, 1]], dtype=np.float32)


def ranks(mask, target, seen=()):
    """Return the ranks of one user's targets; the user has the vectors (1, 0) and (0, 1) as the mask says."""
    vectors = user_vectors(("implicit", "implicit"), np.eye(2)[None], mask_BK=[mask])
    offset = np.array([0, len(target)])
    held = HeldOut(np.array([0]), np.array([0]), offset, np.array(target), np.ones(len(target), dtype=np.bool_))
    excluded = Exclusion.of_items([np.array(seen, dtype=np.int64)], len(ITEMS))
    return max_score_ranks(max_scores(vectors, ITEMS), held, excluded).tolist()


def test_an_item_has_the_maximum_score_of_the_vectors_that_exist_and_ties_share_the_middle_rank(monkeypatch):
    assert ranks([True, True], [1, 2, 3, 4]) == [1, 2, 3.5, 3.5]
    assert ranks([True, False], [1, 2]) == [1, 3]  # items 2, 3 and 4 tie at zero
    assert ranks([False, True], [1, 2]) == [4, 1]
    assert ranks([True, True], [2, 3], seen=[1]) == [1, 2.5]
    assert ranks([False, False], [1, 2]) == [np.inf, np.inf]
    monkeypatch.setitem(globals(), "ITEMS", np.array([[9, 9], [0, 0], [-1, 2], [-2, 1], [0, 0]], dtype=np.float32))
    assert ranks([True, False], [2, 3, 1]) == [1, 2, np.inf]  # items 1 and 4 would tie at zero, before both


CONFIG = RetrieveConfig(unconditioned_share=0.5, explicit_share=0.0)


def vectors(kinds=("unconditioned", "implicit", "implicit"), masked=()):
    """Return one user's vectors: the first unit vectors, implicit ones of weight 3/4 and 1/4."""
    count = len(kinds)
    mask = [[k not in masked for k in range(count)]]
    return user_vectors(kinds, np.eye(3)[None, :count], [[1, 0.75, 0.25][:count]], mask)


def test_the_average_has_the_weights_of_the_blend_and_a_kind_alone_leaves_the_others_out():
    mean = average_vectors(vectors(), CONFIG)
    assert mean.kinds == ("unconditioned",)
    assert np.allclose(mean.vectors_BKD[0, 0], [0.5, 0.375, 0.125])
    assert not average_vectors(vectors(masked=(0, 1, 2)), CONFIG).mask_BK.any()
    alone = vectors().of_kind("implicit")
    assert alone.kinds == ("implicit", "implicit")
    assert np.array_equal(alone.vectors_BKD[0], np.eye(3)[1:])


def test_a_run_with_several_vectors_has_every_control():
    found = systems("clustering", vectors(), {"random": vectors(), "other_user": vectors()}, CONFIG)
    expected = "clustering unconditioned implicit averaged random_partition other_user round_robin global_top"
    assert [system.name for system in found] == expected.split()


def test_a_blend_control_differs_in_the_blend_only_and_one_vector_has_none():
    own, *others = systems("clustering", vectors(), {}, CONFIG)
    top = next(system for system in others if system.name == "global_top")
    assert top.config == CONFIG.model_copy(update={"blend": "global_top"})
    assert top.vectors is own.vectors
    assert [s.name for s in systems("single", vectors(("unconditioned",)), {}, CONFIG)] == ["single"]


@pytest.mark.parametrize(
    ("items", "expected"), [(100, (256, 64)), (32_768, (256, 16)), (100_000, (83, 16)), (10_000_000, (16, 1))]
)
def test_many_items_make_batches_small_and_threads_few(monkeypatch, items, expected):
    monkeypatch.setattr("multitudes.evaluation.protocol.chosen_threads", lambda: 64)
    assert batch_size_and_threads(items) == expected
