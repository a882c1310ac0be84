"""Codes of topics: the best items of a topic and the normaliser within it, beside exact scores."""

import json
from functools import cache
from typing import Any

import numpy as np
import pytest

from multitudes.errors import ArtefactError
from multitudes.index import topic_lists
from multitudes.index.approximate import ApproximateSearch
from multitudes.index.engine import RecallTarget
from multitudes.index.factory import load_embedded
from multitudes.index.inverted import InvertedIndex, build
from multitudes.index.item_table import make_item_table
from multitudes.index.live import LiveIndex
from multitudes.index.mixture import MixtureQuery
from multitudes.index.protocol import ANY_TOPIC, Topics
from multitudes.index.scan import log_sum_exp
from multitudes.index.topic_lists import TopicLists, propose_of_topics

ITEMS, WIDTH, SCALE = 9_000, 16, 5
NOTHING = np.zeros(0, dtype=np.int64)
TARGET = RecallTarget(recall=0.95, deepest=200, scanned=5_000)
CODED, SMALL, LARGE = 2, 1, 3  # topics of 3,000, 600 and 6,000 items
USUAL = (ANY_TOPIC, ANY_TOPIC, CODED, SMALL)


def unit(rng, count):
    """Return vectors of a factor model."""
    loading = np.random.default_rng(9).standard_normal((WIDTH // 2, WIDTH))
    vectors = rng.standard_normal((count, WIDTH // 2)) @ loading + 0.3 * rng.standard_normal((count, WIDTH))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@cache
def world() -> tuple[np.ndarray, np.ndarray, Any]:
    rng = np.random.default_rng(0)
    vectors = unit(rng, ITEMS)
    member = np.stack([np.arange(ITEMS) % 15 == 0, np.arange(ITEMS) % 3 == 0, np.arange(ITEMS) % 3 > 0], axis=1)
    topics = Topics(np.concatenate([[0], np.cumsum(member.sum(axis=1))]), np.nonzero(member)[1] + 1)
    index = build(np.arange(ITEMS), vectors, topics, users=asked(80, 1), target=TARGET)
    assert isinstance(index, InvertedIndex)
    return vectors, member, LiveIndex(index)


def asked(count, seed, topics=USUAL, n=50) -> list[MixtureQuery]:
    rng = np.random.default_rng(seed)
    shares = [rng.dirichlet(np.ones(len(topics))) for _ in range(count)]
    return [
        MixtureQuery(
            SCALE * unit(rng, len(topics)),
            np.log(share),
            np.array(topics),
            np.full(len(topics), n),
            n,
            NOTHING,
        )
        for share in shares
    ]


def exact_list(query: MixtureQuery, keep=None) -> list[int]:
    """Return the most probable items, by brute force."""
    vectors, member, _ = world()
    keep = np.ones(ITEMS, dtype=bool) if keep is None else keep
    terms = []
    for vector, log_share, topic in zip(query.vectors_KD, query.log_share_K, query.topic_K, strict=True):
        score = np.where(keep & (member[:, topic - 1] if topic else True), vectors @ vector, -np.inf)
        if np.isfinite(score).any():
            terms.append(score + log_share - np.logaddexp.reduce(score))
    log_p = np.logaddexp.reduce(terms)
    log_p[query.excluded] = -np.inf
    return [int(item) for item in np.argsort(-log_p, kind="stable")[: query.n] if log_p[item] > -np.inf]


def overlap(index: LiveIndex, queries, keep=None) -> float:
    shares = []
    for query, found in zip(queries, index.mixture(queries), strict=True):
        expected = exact_list(query, keep)
        assert len(found.id_N) == len(expected), "never short"
        assert not set(found.id_N.tolist()) & set(query.excluded.tolist())
        shares.append(np.isin(expected, found.id_N).mean())
    return float(np.mean(shares))


def log_sums(queries):
    """Return the log normaliser of the first vector of each query, and the exact one."""
    vectors, member, index = world()
    found = [next(iter(index.segment.score_mixtures([query]))).log_sum_K[0] for query in queries]
    return np.array(found), np.array(
        [log_sum_exp((vectors[member[:, query.topic_K[0] - 1]] @ query.vectors_KD[0])[None])[0] for query in queries]
    )


def test_a_topic_of_middling_size_has_codes_and_the_others_have_none():
    _, _, index = world()
    assert index.segment.walk.topic_lists.topic_T.tolist() == [CODED]


def test_the_normaliser_of_a_topic_is_known_from_its_best_items(monkeypatch):
    found, exact = log_sums(asked(60, 2, topics=(CODED,)))
    error = found - exact
    assert abs(error.mean()) < 0.04
    assert error.std() < 0.04
    found, exact = log_sums(asked(60, 2, topics=(SMALL,)))
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    # Control: without the rest, the sum over the best items is too small.
    monkeypatch.setattr(topic_lists, "_log_sum_of_rest", lambda *_: -np.inf)
    found, exact = log_sums(asked(60, 2, topics=(CODED,)))
    assert (found - exact).mean() < -0.1


@pytest.mark.parametrize("items", [topic_lists._WHOLE + 1, 3_000, 20_000])
@pytest.mark.parametrize("near", [0, 300, 700])
def test_the_normaliser_of_clustered_scores_is_known_too(items: int, near: int):
    """Scores of a topic with a cluster near the vector, at any number of its items."""
    rng = np.random.default_rng(items + near)
    errors = []
    for _ in range(50):
        centres = rng.normal(0, 1.5, 20)
        score_M = (rng.choice(centres, items) + rng.normal(0, 0.7, items)).astype(np.float32)
        score_M[:near] = rng.normal(4, 0.5, near)
        best = np.sort(score_M)[-topic_lists._SUMMED :]
        (found,) = topic_lists.log_sums_of_best(best[None], score_M.mean()[None], [items])
        errors.append(found - log_sum_exp(score_M[None])[0])
    assert np.abs(errors).max() < (0.1 if items <= 3_000 else 0.35)


def test_neither_the_number_of_results_nor_what_is_excluded_changes_the_normaliser():
    queries = asked(10, 3, topics=(CODED,))
    usual, _ = log_sums(queries)
    more, _ = log_sums([query._replace(n=700, limit_K=np.array([700])) for query in queries])
    excluding, _ = log_sums([query._replace(excluded=np.arange(0, ITEMS, 7)) for query in queries])
    np.testing.assert_allclose(more, usual, atol=1e-6)
    np.testing.assert_allclose(excluding, usual, atol=1e-6)


def without_codes(index: Any) -> LiveIndex:
    """Return the index as an earlier version built it: the topics are scored exactly."""
    walk = index.segment.walk
    return LiveIndex(InvertedIndex(index.segment, walk.moments, TopicLists(None, NOTHING), walk.tuning))


def test_the_promise_holds_with_codes():
    _, _, index = world()
    assert overlap(index, asked(40, 3)) >= TARGET.recall - 0.01


@pytest.mark.parametrize("topics", [USUAL, (CODED, SMALL), (CODED,), (ANY_TOPIC, ANY_TOPIC, CODED, LARGE)])
def test_codes_find_what_exact_scores_of_topics_find(topics):
    _, _, index = world()
    queries = asked(40, 4, topics)
    assert overlap(index, queries) >= overlap(without_codes(index), queries) - 0.01
    best = [np.sort(exact_list(query._replace(n=300))) for query in queries]  # the worst ones to exclude
    excluding = [query._replace(excluded=own) for query, own in zip(queries, best, strict=True)]
    assert overlap(index, excluding) >= overlap(without_codes(index), excluding) - 0.03


def test_a_user_gets_the_same_proposals_alone_and_among_many():
    _, _, index = world()
    queries = asked(40, 5, topics=(CODED, CODED))
    together = [scores._topics for scores in index.segment.score_mixtures(queries)]
    for query, expected in zip(queries, together, strict=True):
        (alone,) = index.segment.score_mixtures([query])
        for a, b in zip(alone._topics, expected, strict=True):
            assert a.log_sum == pytest.approx(b.log_sum, abs=1e-6)
            best = np.argsort(-b.score_M)[:100]  # up to the last one: ties with it are dropped
            assert set(b.row_M[best].tolist()) <= set(a.row_M.tolist())


def test_items_that_are_removed_count_no_longer():
    _, _, index = world()
    keep = np.ones(ITEMS, dtype=bool)
    keep[np.concatenate([np.arange(0, 2_000, 3), exact_list(asked(1, 6, topics=(CODED,))[0])])] = False
    few = keep & ((np.arange(ITEMS) < 2_400) | (np.arange(ITEMS) % 3 > 0))  # hardly an item of the topic is left
    for left in (keep, few):
        live, exact = LiveIndex(index.segment), without_codes(index)
        live.remove(np.flatnonzero(~left))
        exact.remove(np.flatnonzero(~left))
        assert overlap(live, asked(30, 6), left) >= overlap(exact, asked(30, 6), left) - 0.02


def test_a_topic_of_copies_of_one_item_is_proposed_and_summed():
    vectors = np.tile(unit(np.random.default_rng(1), 1), (3_000, 1))
    table = make_item_table(np.arange(3_000), vectors, Topics(np.arange(3_001), np.ones(3_000, dtype=np.int64)))
    (query,) = asked(1, 8, topics=(1,))
    ((found,),) = propose(table, [query])
    assert len(found.row_M) >= query.n
    assert found.log_sum == pytest.approx(np.log(3_000) + float(vectors[0] @ query.vectors_KD[0]), abs=0.05)


@pytest.mark.parametrize("vector", ["zero", "tiny", "flat"])
def test_a_vector_under_which_all_items_score_the_same_is_scored_exactly(vector: str):
    vectors = unit(np.random.default_rng(2), 3_000)
    vectors[:, 0] = 0.5
    table = make_item_table(np.arange(3_000), vectors, Topics(np.arange(3_001), np.ones(3_000, dtype=np.int64)))
    (query,) = asked(1, 8, topics=(1,))
    asks = np.zeros((1, WIDTH), dtype=np.float32)
    asks[0, 0] = {"zero": 0, "tiny": 1e-37, "flat": 4}[vector]
    ((found,),) = propose(table, [query._replace(vectors_KD=asks)])
    assert len(found.row_M) >= query.n
    assert found.log_sum == pytest.approx(np.log(3_000) + 0.5 * asks[0, 0], abs=1e-3)


def test_a_user_who_excludes_much_does_not_change_what_others_are_proposed():
    _, _, index = world()
    queries = asked(20, 11, topics=(CODED,))
    queries[3] = queries[3]._replace(excluded=np.arange(0, ITEMS, 3)[:2_500])
    together = [own._topics for own in index.segment.score_mixtures(queries)]
    for query, (expected,) in zip(queries, together, strict=True):
        ((alone,),) = [own._topics for own in index.segment.score_mixtures([query])]
        assert sorted(alone.row_M.tolist()) == sorted(expected.row_M.tolist())
    assert len(together[3][0].row_M) == len(np.arange(0, ITEMS, 3)), "all of them, since most are excluded"
    assert max(len(own[0].row_M) for own in together[:3]) < 520


def test_many_vectors_with_the_same_favourites_get_full_lists():
    _, _, index = world()
    (query,) = asked(1, 12, topics=(CODED,) * 20)
    alike = query.vectors_KD[:1] + 1e-3 * np.arange(20, dtype=np.float32)[:, None]
    (found,) = index.mixture([query._replace(vectors_KD=alike)])
    assert len(found.id_N) == query.n


def large_topic(length: int):
    """Return a topic of 8,000 clustered items, users who follow it, and the exact log normalisers."""
    rng = np.random.default_rng(length)
    centres = rng.standard_normal((200, 64))
    vectors = centres[rng.integers(200, size=8_000)] + 0.5 * rng.standard_normal((8_000, 64))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    table = make_item_table(np.arange(8_000), vectors, Topics(np.arange(8_001), np.ones(8_000, dtype=np.int64)))
    near = vectors[rng.integers(8_000, size=40)] + 0.1 * rng.standard_normal((40, 64))
    asks = (length * near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    queries = [query._replace(vectors_KD=ask[None]) for query, ask in zip(asked(40, 9, topics=(1,)), asks, strict=True)]
    return table, queries, log_sum_exp(asks @ vectors.T)


@pytest.mark.parametrize("length", [10, 14])
def test_the_normaliser_is_known_for_usual_widths_and_lengths(length: int):
    table, queries, exact = large_topic(length)
    error = np.array([proposals.log_sum for (proposals,) in propose(table, queries)]) - exact
    assert abs(error.mean()) < 0.06
    assert error.std() < 0.06


def test_what_the_normaliser_is_too_low_by_is_learned_from_some_users_and_holds_for_others(monkeypatch):
    estimate = topic_lists.log_sums_of_best
    monkeypatch.setattr(topic_lists, "log_sums_of_best", lambda *best: [found - 0.3 for found in estimate(*best)])
    table, queries, exact = large_topic(10)
    before = np.array([proposals.log_sum for (proposals,) in propose(table, queries[8:])]) - exact[8:]
    after = np.array([proposals.log_sum for (proposals,) in propose(table, queries[8:], queries[:8])]) - exact[8:]
    assert abs(before.mean() + 0.3) < 0.05
    assert abs(after.mean()) < 0.05


def propose(table, queries, calibrated_on=()):
    """Return what is proposed where every topic has codes."""
    lists = TopicLists.build(table, lambda _: True, 0)
    assert lists.lists is not None
    search = ApproximateSearch(table, None, None)  # type: ignore[arg-type]  # no engine is asked
    return propose_of_topics(search, lists.calibrate(search, calibrated_on), queries, lambda _: True)


def test_a_saved_index_has_the_codes_and_an_older_one_searches_without(tmp_path):
    _, _, index = world()
    queries = asked(20, 7)
    index.save(tmp_path)
    opened = load_embedded(tmp_path)
    for a, b in zip(index.mixture(queries), opened.mixture(queries), strict=True):
        assert a.id_N.tolist() == b.id_N.tolist()
        assert a.score_N.tolist() == b.score_N.tolist()
    record = json.loads((tmp_path / "index.json").read_text(encoding="utf-8"))
    del record["files"][topic_lists.CORRECTION_FILE]
    before = TopicLists.load(tmp_path, record, index.segment.parts[0])
    assert before.correction_T.tolist() == [0], "an earlier version measured none"
    assert index.segment.walk.topic_lists.correction_T[0] != 0
    (tmp_path / "older").mkdir()
    without_codes(index).save(tmp_path / "older")
    opened = load_embedded(tmp_path / "older")
    assert isinstance(opened.segment, InvertedIndex)
    assert opened.segment.walk.topic_lists.lists is None
    assert overlap(opened, queries) >= TARGET.recall - 0.01


def test_codes_of_other_topics_are_refused(tmp_path):
    _, _, index = world()
    index.save(tmp_path)
    np.save(tmp_path / topic_lists.TOPICS_FILE, np.array([LARGE]))
    record = json.loads((tmp_path / "index.json").read_text(encoding="utf-8"))
    with pytest.raises(ArtefactError, match="not of these topics"):
        TopicLists.load(tmp_path, record, index.segment.parts[0])
    np.save(tmp_path / topic_lists.TOPICS_FILE, np.array([CODED]))
    np.save(tmp_path / topic_lists.CORRECTION_FILE, np.array([np.nan]))
    with pytest.raises(ArtefactError, match=r"correction\.npy: is not of these topics"):
        TopicLists.load(tmp_path, record, index.segment.parts[0])
    (tmp_path / topic_lists.CODES_FILE).write_bytes(b"nothing")
    with pytest.raises(ArtefactError, match="cannot read it"):
        TopicLists.load(tmp_path, record, index.segment.parts[0])
