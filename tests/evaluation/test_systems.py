"""The controls are what they say: the same user, other vectors or another blend."""

import numpy as np

from multitudes.batches.user_vectors import UserVectors
from multitudes.evaluation.protocol import average_vectors, systems, vectors_of_kind
from multitudes.retrieval.config import RetrieveConfig

CONFIG = RetrieveConfig(unconditioned_share=0.5, explicit_share=0.0)


def vectors(kinds=("unconditioned", "implicit", "implicit"), masked=()):
    """Return one user's vectors: the first unit vectors, implicit ones of weight 3/4 and 1/4."""
    mask = np.array([[k not in masked for k in range(len(kinds))]])
    weight = np.array([[1, 0.75, 0.25]], dtype=np.float32)[:, : len(kinds)] * mask
    return UserVectors(
        kinds=kinds,
        vectors_BKD=np.eye(3, dtype=np.float32)[None, : len(kinds)],
        weight_BK=weight.astype(np.float32),
        mask_BK=mask,
        topic_BK=np.zeros(mask.shape, dtype=np.int64),
        assignment_BL=np.zeros((1, 4), dtype=np.int64),
    )


def test_the_average_weighs_the_vectors_as_the_blend_does():
    mean = average_vectors(vectors(), CONFIG)
    assert mean.kinds == ("unconditioned",)
    assert np.allclose(mean.vectors_BKD[0, 0], [0.5, 0.375, 0.125])


def test_a_user_without_vectors_has_no_average_either():
    assert not average_vectors(vectors(masked=(0, 1, 2)), CONFIG).mask_BK.any()


def test_a_kind_alone_leaves_the_others_out():
    alone = vectors_of_kind(vectors(), "implicit")
    assert alone.kinds == ("implicit", "implicit")
    assert np.array_equal(alone.vectors_BKD[0], np.eye(3)[1:])


def test_a_run_of_several_vectors_is_asked_with_every_control():
    names = [system.name for system in systems("clustering", vectors(), vectors(), CONFIG)]
    assert names == [
        "clustering",
        "unconditioned",
        "implicit",
        "averaged",
        "random_partition",
        "round_robin",
        "global_top",
    ]


def test_a_run_of_one_vector_needs_no_control():
    assert [s.name for s in systems("single", vectors(("unconditioned",)), None, CONFIG)] == ["single"]


def test_a_blend_control_differs_in_the_blend_only():
    own, *others = systems("clustering", vectors(), None, CONFIG)
    top = next(system for system in others if system.name == "global_top")
    assert top.config == CONFIG.model_copy(update={"blend": "global_top"})
    assert top.vectors is own.vectors
