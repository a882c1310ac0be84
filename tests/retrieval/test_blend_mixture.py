"""The mixture of many users at once is that of each alone, whatever topics their vectors are restricted to."""

import numpy as np
import pytest

from multitudes.batches.user_vectors import UserVectors
from multitudes.index.exact import ExactIndex
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import NO_ID, Topics
from multitudes.retrieval.blend import MergedLists, blend_mixture, mixture
from multitudes.retrieval.catalogue import Catalogue

ITEMS, USERS, N = 60, 40, 9  # more users than are mixed at once


def world():
    rng = np.random.default_rng(0)
    item_ID = rng.standard_normal((ITEMS + 1, 4)).astype(np.float32)
    topic_I = np.concatenate([[0], rng.integers(1, 4, ITEMS)])
    topics = Topics(np.arange(ITEMS + 1), topic_I[1:])
    catalogue = Catalogue(
        LiveIndex(ExactIndex.build(np.arange(1, ITEMS + 1), item_ID[1:], topics)), np.zeros(ITEMS + 1, np.int64)
    )
    mask_BK = rng.random((USERS, 3)) < 0.8
    mask_BK[5] = False
    vectors = UserVectors(
        ("implicit", "explicit", "explicit"),
        rng.standard_normal((USERS, 3, 4)).astype(np.float32),
        np.ones((USERS, 3), np.float32),
        mask_BK,
        np.zeros((USERS, 3), np.int64),
        np.zeros((USERS, 3), np.int64),
    )
    topic_BK = np.stack([np.zeros(USERS, np.int64), np.arange(USERS) % 4, np.arange(USERS) // 10 % 4], axis=1)
    found_BKU = np.full((USERS, 3, 20), -np.inf, np.float32)
    item_BU = np.full((USERS, 20), NO_ID)
    for b in np.flatnonzero(mask_BK.any(axis=1)).tolist():
        some = np.sort(rng.choice(np.arange(1, ITEMS + 1), rng.integers(1, 21), replace=False))
        item_BU[b, : len(some)] = some
        found_BKU[b, rng.choice(np.flatnonzero(mask_BK[b]), len(some)), np.arange(len(some))] = 1.0
    return catalogue, vectors, topic_BK, topic_I, item_ID, MergedLists(item_BU, found_BKU)


@pytest.mark.parametrize("marked", [0, 8])  # topics are looked up by halving, or marked
def test_many_users_get_what_each_would_get_by_the_formula(monkeypatch, marked):
    monkeypatch.setattr("multitudes.retrieval.blend._TABLE_SPEEDUP", marked)
    catalogue, vectors, topic_BK, topic_I, item_ID, found = world()
    rng = np.random.default_rng(1)
    share_BK = rng.dirichlet(np.ones(3), USERS)
    log_normaliser_BK = np.where(vectors.mask_BK, rng.standard_normal((USERS, 3)), -np.inf).astype(np.float32)
    got = list(blend_mixture(found, vectors, topic_BK, share_BK, log_normaliser_BK, catalogue, N))
    assert len(got) == USERS
    controls = 0
    for b, blended in enumerate(got):
        item_U = found.item_U[b][found.item_U[b] != NO_ID]
        own = MergedLists(item_U, found.score_KU[b, :, : len(item_U)])
        logit_KU = vectors.vectors_BKD[b] @ item_ID[item_U].T
        barred_KU = (topic_BK[b, :, None] > 0) & (topic_I[item_U] != topic_BK[b, :, None])
        allowed_KU = np.where(barred_KU, -np.inf, logit_KU).astype(np.float32)
        wanted = mixture(own, allowed_KU, share_BK[b], log_normaliser_BK[b], N)
        assert blended.item_N.tolist() == wanted.item_N.tolist()
        assert blended.interest_N.tolist() == wanted.interest_N.tolist()
        np.testing.assert_allclose(blended.score_N, wanted.score_N, rtol=1e-5)
        free = mixture(own, logit_KU, share_BK[b], log_normaliser_BK[b], N)
        controls += free.item_N.tolist() != blended.item_N.tolist()
    assert controls > USERS // 2, "the control: restrictions change lists"
