"""The search for a mixture: against the probability of every item in float64, in random worlds and in larger ones.

Legend: K vectors of a user · n items.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitudes.errors import ArtefactError, DataError, UsageError
from multitudes.index import batch_walk, files, inverted_mixture, mixture_tuning
from multitudes.index.engine import RecallTarget
from multitudes.index.exact import ExactIndex
from multitudes.index.factory import load_embedded
from multitudes.index.inverted import InvertedIndex, build
from multitudes.index.list_moments import ListMoments
from multitudes.index.live import LiveIndex
from multitudes.index.mixture import MixtureQuery
from multitudes.index.protocol import ANY_TOPIC
from tests.index.mixture_worlds import (
    ITEMS,
    NOTHING,
    PROMISE,
    WIDTH,
    World,
    check_list,
    followers,
    large,
    overlap,
    query_of,
    random_world,
    rounding,
    users,
    walk_in_the_order_of_one_vector,
)
from tests.index.worlds import clustered, csr, latent


@st.composite
def worlds(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, width = draw(st.integers(1, 60)), draw(st.sampled_from([1, 3, 64]))
    ids = np.sort(rng.choice(200, n, replace=False)) + 1
    make = draw(st.sampled_from(["normal", "whole", "copied", "long"]))
    vectors = rng.standard_normal((n, width)).astype(np.float32)
    if make == "whole":
        vectors = rng.integers(-2, 3, (n, width)).astype(np.float32)
    elif make == "copied":
        vectors = vectors[rng.integers(0, n, n)]
    topics = [sorted(set(rng.integers(1, 5, rng.integers(0, 4)).tolist())) for _ in range(n)]
    queries = []
    for _ in range(draw(st.integers(1, 4))):
        count = int(rng.integers(1, 6))
        asked: Any = rng.standard_normal((count, width)) * (50 if make == "long" else 2)
        asked[rng.random(count) < 0.1] = 0
        if make == "whole":
            asked = rng.integers(-2, 3, (count, width))
        share = rng.dirichlet(np.ones(count)) * (rng.random(count) < 0.9)
        topic = np.where(rng.random(count) < 0.4, rng.integers(1, 6, count), ANY_TOPIC)
        excluded = np.sort(rng.choice(np.arange(1, 210), rng.integers(0, 209), replace=False))
        queries.append(query_of(asked, int(rng.integers(0, n + 3)), share, topic, excluded))
    return World(ids, vectors, topics), queries


def changed(world: World, make: Callable[..., LiveIndex]) -> LiveIndex:
    """Build an index of other items that comes to those of the world by additions, new versions and removals."""
    rng = np.random.default_rng(len(world.ids))
    n = len(world.ids)
    late = rng.random(n) < 0.4
    late[0] = False
    gone = np.array([1_001, 1_002])
    ids = np.concatenate([world.ids, gone])
    vectors = np.concatenate([world.vectors, 3 * np.ones((2, world.vectors.shape[1]), np.float32)])
    vectors[: len(late)][late] += 1
    topics = [*world.topics, [1], [2]]
    live = make(ids, vectors, topics)
    live.add(
        world.ids[late],
        world.vectors[late],
        csr([own for own, is_late in zip(world.topics, late, strict=True) if is_late]),
    )
    live.remove(gone)
    return live


def exact(ids, vectors, topics) -> LiveIndex:
    return LiveIndex(ExactIndex.build(ids, vectors, csr(topics)))


@given(drawn=worlds(), is_changed=st.booleans())
@settings(max_examples=120, deadline=None)
def test_the_exact_index_finds_the_most_probable_items(drawn, is_changed):
    world, queries = drawn
    index = changed(world, exact) if is_changed else exact(world.ids, world.vectors, world.topics)
    together = list(index.mixture(queries))
    for query, found in zip(queries, together, strict=True):
        check_list(found, world, query)
        (alone,) = index.mixture([query])
        np.testing.assert_allclose(alone.score_N, found.score_N, rtol=1e-5, atol=rounding(world, query))


def test_probabilities_that_underflow_are_ranked_too():
    world = World(np.arange(1, 41), np.linspace(0, 1, 40)[:, None], [[]] * 40)
    query = query_of([[1_000.0], [900.0]], 40)
    (found,) = exact(world.ids, world.vectors, world.topics).mixture([query])
    assert found.id_N.tolist() == list(range(40, 0, -1))


def test_vectors_of_another_width_or_with_nan_are_rejected():
    index = exact(np.arange(3), np.eye(3), [[]] * 3)
    with pytest.raises(UsageError, match="2 dimensions"):
        list(index.mixture([query_of([[1.0, 0.0]], 1)]))
    with pytest.raises(DataError, match="not finite"):
        list(index.mixture([query_of([[np.nan, 0.0, 0.0]], 1)]))


# Inverted lists


@pytest.fixture(params=["latent", "clustered"])
def name(request) -> str:
    return str(request.param)


def test_inverted_lists_find_what_they_promise_in_one_walk(name):
    index, world = large(name)
    assert isinstance(index.segment, InvertedIndex)
    make = {"latent": latent, "clustered": clustered}[name]
    asked = users(make, 40, 2)
    assert overlap(index, world, asked) >= PROMISE.recall - 0.01
    with_topics = users(make, 40, 2, topics=True)
    assert overlap(index, world, with_topics) >= PROMISE.recall - 0.02
    # The best items of a user are the worst ones to exclude.
    seen = [query._replace(excluded=np.sort([i for i, _ in world.ranking(query._replace(n=120))])) for query in asked]
    assert overlap(index, world, seen) >= PROMISE.recall - 0.02
    info = index.info()["mixture"]
    assert (info["promise"], info["floor"]) == (0.95, 0.93)
    assert all(level["checked"] >= info["floor"] for level in info["levels"])
    assert "mixture_fallback" not in index.info()


def test_the_best_pairs_are_the_largest_values_whatever_ties():
    value_FL = np.array([[1, 5, 1, -np.inf], [1, 1, 9, 1]], np.float32)
    for pairs, best in ((1, [9]), (2, [9, 5]), (4, [9, 5, 1, 1]), (8, [9, 5, 1, 1, 1, 1, 1])):
        vector_P, list_P = inverted_mixture._best_pairs(value_FL, pairs)
        assert sorted(value_FL[vector_P, list_P].tolist(), reverse=True) == best
        assert len(set(zip(vector_P.tolist(), list_P.tolist(), strict=True))) == len(best)


def test_the_control_a_walk_in_the_order_of_one_vector_finds_less():
    index, world = large("latent")
    asked = users(latent, 40, 2)
    usual = overlap(index, world, asked)
    with walk_in_the_order_of_one_vector():
        assert overlap(index, world, asked) < usual - 0.05


@pytest.mark.parametrize("together", [False, True], ids=["alone", "many users"])
def test_items_of_the_history_are_scored_though_no_list_that_is_read_has_them(monkeypatch, together):
    index, world = large("latent")
    live = LiveIndex(index.segment)
    asked = [query._replace(n=20) for query in users(latent, 40 if together else 1, 2)]
    best = [[item for item, _ in world.ranking(query)] for query in asked]
    removed, excluded = best[0][0], best[0][1]
    live.remove(np.array([removed]))
    of_best_pairs = inverted_mixture._best_pairs
    monkeypatch.setattr(inverted_mixture, "_best_pairs", lambda value_FL, _: of_best_pairs(-value_FL, 20))

    def found(history: list[list[int]]) -> list[list[int]]:
        queries = [
            query._replace(history=np.sort(own), excluded=np.array([excluded]))
            for query, own in zip(asked, history, strict=True)
        ]
        return [one.id_N.tolist() for one in live.mixture(queries)]

    with_history, without = found([own[:10] for own in best]), found([[]] * len(asked))
    assert with_history[0][:8] == best[0][2:10]
    assert not {removed, excluded} & set(with_history[0])
    assert not set(without[0]) & set(best[0][:10]), "control: the worst lists are read"
    assert all(set(own[:10]) - {removed, excluded} <= set(one) for own, one in zip(best, with_history, strict=True))


def test_items_of_the_history_without_a_topic_that_is_asked_for_take_no_place():
    """Ten topics propose each of their 100 items ten times, and the history is of none of them."""
    rng, asked_topics = np.random.default_rng(3), np.arange(1, 11)
    vectors = latent(rng, ITEMS, WIDTH)
    topics = [asked_topics.tolist() if i < 100 else [] for i in range(ITEMS)]
    index = build(np.arange(1, ITEMS + 1), vectors, csr(topics), users=users(latent, 60, 1), target=PROMISE)
    alike = latent(rng, 1, WIDTH) / 4 + 0.01 * rng.standard_normal((len(asked_topics), WIDTH))
    query = query_of(alike, 90, topics=asked_topics)._replace(history=np.arange(500, 560))
    for found in LiveIndex(index).mixture([query] * 30):
        assert len(found.id_N) == 90


def test_what_users_exclude_need_not_be_found_by_the_tuned_search():
    rng = np.random.default_rng(3)
    vectors = latent(rng, ITEMS, WIDTH)
    world = World(np.arange(1, ITEMS + 1), vectors, [[]] * ITEMS)
    asked = users(latent, 60, 1)
    excluding = [
        query._replace(excluded=np.sort([item for item, _ in world.ranking(query._replace(n=10))])) for query in asked
    ]
    effort = {}
    for name, sample in (("all", asked), ("others", excluding)):
        info = build(world.ids, vectors, users=sample, target=PROMISE).info()["mixture"]
        effort[name] = {level["depth"]: level["effort"] for level in info["levels"]}
    assert 10 in effort["all"]
    assert 10 not in effort["others"], "nothing else is among the best ten, so nothing tells what finds it"
    assert effort["others"][20] <= effort["all"][20]


def test_users_who_follow_nothing_get_what_is_promised_where_all_others_follow_topics(name):
    make = {"latent": latent, "clustered": clustered}[name]
    rng = np.random.default_rng(3)
    item = make(rng, 3 * ITEMS, WIDTH)
    item /= np.linalg.norm(item, axis=1, keepdims=True)
    topics = [[int(topic)] if row >= 30 else [9] for row, topic in enumerate(rng.integers(1, 9, len(item)))]
    world = World(np.arange(1, len(item) + 1), item, topics)
    target = RecallTarget(recall=0.97, deepest=200, scanned=3_000)
    segment = build(world.ids, item, csr(world.topics), users=followers(item, 128, 4, topics=5), target=target)
    assert isinstance(segment, InvertedIndex)
    tuning, index = segment.walk.tuning, LiveIndex(segment)
    assert tuning.with_topics
    nothing, some = followers(item, 30, 5, topics=0), followers(item, 30, 5, topics=5)
    assert overlap(index, world, nothing) >= 0.95
    assert overlap(index, world, some) >= 0.95
    # A topic of few items, or of none that is left, brings too little to be counted on.
    few = world.ids[[9 in own for own in world.topics]]
    little = [
        query._replace(
            vectors_KD=np.concatenate([query.vectors_KD, query.vectors_KD[:1]]),
            log_share_K=np.append(query.log_share_K, 0.0) - np.log(2),
            topic_K=np.append(query.topic_K, 9),
            limit_K=None,
            excluded=excluded,
        )
        for query in nothing
        for excluded in (NOTHING, few)
    ]
    assert overlap(index, world, little) >= 0.95
    # The control: searched as if they followed topics, they get less.
    segment.walk = segment.walk.with_tuning(tuning._replace(levels=tuning.with_topics, with_topics=()))
    assert overlap(LiveIndex(segment), world, nothing) < 0.9


def test_random_worlds_with_layers_topics_and_exclusions_are_never_short_and_find_most():
    shares = []
    for seed in range(8):
        index, world, asked = random_world(seed)
        if index.has_mixture:  # else it was not good enough
            shares.append(overlap(index, world, asked))
    assert len(shares) >= 5
    assert min(shares) >= 0.85, shares
    assert np.mean(shares) >= 0.94, shares


def test_a_list_that_is_empty_since_its_items_were_removed_takes_no_say_from_the_vectors():
    index, world = large("latent")
    assert isinstance(index.segment, InvertedIndex)
    gone = index.segment.walk.lists.rows_of(0)
    kept = np.setdiff1d(np.arange(ITEMS), gone)
    without = LiveIndex(index.segment.without(world.ids[gone]))
    left = World(world.ids[kept], world.vectors[kept], [world.topics[row] for row in kept])
    assert len(gone) > 0
    assert overlap(without, left, users(latent, 40, 2)) >= PROMISE.recall - 0.02


def test_a_vector_of_zeros_takes_no_pairs_from_the_others():
    index, world = large("latent")
    asked = users(latent, 40, 2)
    zeros = [query._replace(vectors_KD=query.vectors_KD * (np.arange(5) > 0)[:, None]) for query in asked]
    assert overlap(index, world, zeros) >= PROMISE.recall - 0.01


def test_users_of_whom_nothing_is_asked_tune_nothing():
    rng = np.random.default_rng(3)
    silent = [query._replace(log_share_K=np.full(5, -np.inf)) for query in users(latent, 60, 1)]
    index = LiveIndex(build(np.arange(ITEMS), latent(rng, ITEMS, WIDTH), users=silent, target=PROMISE))
    assert not index.has_mixture
    fallback = index.info()["mixture_fallback"]
    assert fallback["reason"] == "0 users with a vector that may bring any item; expected 2 or more"
    assert (fallback["checked"], fallback["checked_on"]) == (None, 0)


@pytest.mark.parametrize("file", ["list_mean.npy", "list_variance.npy", "list_covariance.npy"])
def test_moments_that_are_not_finite_are_refused(tmp_path, file):
    index, _ = large("latent")
    index.save(tmp_path)
    array = np.load(tmp_path / file)
    array.flat[-1] = np.nan
    np.save(tmp_path / file, array)
    with pytest.raises(ArtefactError, match=f"{file}.*not finite"):
        ListMoments.load(tmp_path)


def test_an_index_whose_items_change_finds_the_new_ones_and_not_the_old(name):
    index, world = large(name)
    make = {"latent": latent, "clustered": clustered}[name]
    asked = users(make, 20, 4, topics=True)
    best = np.unique([item for query in asked for item, _ in world.ranking(query._replace(n=5))])
    removed, moved = best[::2], best[1::2]
    live = LiveIndex(index.segment)
    live.remove(removed)
    live.add(moved, -world.vectors[moved - 1], csr([world.topics[i - 1] for i in moved.tolist()]))
    live.add(np.array([ITEMS + 1]), world.vectors[:1], csr([[1]]))
    keep = ~np.isin(world.ids, removed)
    vectors = world.vectors.copy()
    vectors[moved - 1] *= -1
    now = World(
        np.append(world.ids[keep], ITEMS + 1),
        np.concatenate([vectors[keep], world.vectors[:1]]),
        [*(own for own, kept in zip(world.topics, keep, strict=True) if kept), [1]],
    )
    assert overlap(live, now, asked) >= PROMISE.recall - 0.03


def test_a_user_gets_the_same_list_alone_and_among_a_few(name):
    index, _ = large(name)
    make = {"latent": latent, "clustered": clustered}[name]
    asked = users(make, 40, 5, topics=True)
    few = [found for start in range(0, 40, 10) for found in index.mixture(asked[start : start + 10])]
    for query, found in zip(asked, few, strict=True):
        (alone,) = index.mixture([query])
        assert alone.id_N.tolist() == found.id_N.tolist()
        assert (alone.found_by_NK == found.found_by_NK).all()


def test_many_users_are_searched_by_exact_terms_which_find_no_less(name, monkeypatch):
    index, world = large(name)
    make = {"latent": latent, "clustered": clustered}[name]
    asked = users(make, 40, 5, topics=True)
    asked = [
        query._replace(excluded=np.sort([i for i, _ in world.ranking(query._replace(n=30))])) if u % 2 else query
        for u, query in enumerate(asked)
    ]
    asked[7] = asked[7]._replace(n=0)
    asked[8] = asked[8]._replace(vectors_KD=np.zeros_like(asked[8].vectors_KD))
    asked[9] = asked[9]._replace(topic_K=np.ones_like(asked[9].topic_K))
    asked[10] = asked[10]._replace(excluded=world.ids[: ITEMS - 7])
    asked[11] = asked[11]._replace(log_share_K=np.full(5, -np.inf))
    usual = asked[12:]
    together = overlap(index, world, usual)
    for query, found in zip(asked, index.mixture(asked), strict=True):
        silent = not np.isfinite(query.log_share_K).any()
        if silent or query.n == 0 or len(query.excluded) > ITEMS // 2 or not query.vectors_KD.any():
            (alone,) = index.mixture([query])
            assert alone.id_N.tolist() == found.id_N.tolist()
        if silent or query.n == 0:
            assert len(found.id_N) == 0
    monkeypatch.setattr(batch_walk, "_MAX_TERMS", 1)  # each user alone in memory
    assert overlap(index, world, usual) == together
    monkeypatch.setattr(batch_walk, "_FROM_USERS", 1_000)  # each user by the codes
    assert together >= overlap(index, world, usual) - 0.005
    assert together >= PROMISE.recall


def test_many_users_find_the_best_terms_of_their_lists(name, monkeypatch):
    index, world = large(name)
    make = {"latent": latent, "clustered": clustered}[name]
    asked = users(make, 30, 8, topics=True)
    asked = [query._replace(excluded=world.ids[u : u + 40]) for u, query in enumerate(asked)]
    walk_together, compared = batch_walk._walk_together, []

    def compare(walk, visits):
        for visit, proposed in zip(visits, walk_together(walk, visits), strict=True):
            found = [
                (walk.lists.rows_of(number), walk.table.vectors_at(walk.lists.rows_of(number)) @ vector_D + prior)
                for vector_D, prior, number in zip(
                    visit.lists.vectors_FD[visit.lists.vector_P],
                    visit.lists.prior_F[visit.lists.vector_P],
                    visit.lists.list_P.tolist(),
                    strict=True,
                )
            ]
            rows, terms = map(np.concatenate, zip(*found, *visit.plan.of_topics, strict=True))
            best = np.argsort(-terms)[: visit.wanted]
            expected = np.sort(terms[best[~np.isin(rows[best], visit.plan.excluded.row_E)]])
            np.testing.assert_allclose(np.sort(proposed[0][1])[-len(expected) :], expected, rtol=1e-5)
            assert len(proposed[0][1]) <= len(expected) + 3  # ties
            compared.append(visit.user)
            yield proposed

    monkeypatch.setattr(batch_walk, "_walk_together", compare)
    usual = [found.id_N.tolist() for found in index.mixture(asked)]
    assert len(compared) >= len(asked)
    monkeypatch.setattr(batch_walk, "_LEADING", 10_000)  # one list gives the bound, which is lower
    monkeypatch.setattr(batch_walk, "_MAX_TERMS", 1)
    assert [found.id_N.tolist() for found in index.mixture(asked)] == usual


def test_all_but_a_few_items_may_be_excluded_and_a_vector_may_be_zero(name):
    index, world = large(name)
    query = users(clustered, 1, 6)[0]
    most = query._replace(excluded=world.ids[: ITEMS - 7])
    (found,) = index.mixture([most])
    assert sorted(found.id_N.tolist()) == world.ids[ITEMS - 7 :].tolist()
    (found,) = index.mixture([query._replace(n=0)])
    assert len(found.id_N) == 0
    nothing = query._replace(vectors_KD=np.zeros_like(query.vectors_KD))
    (found,) = index.mixture([nothing])
    assert found.id_N.tolist() == list(range(1, 51)), "all items tie"
    silent = query._replace(log_share_K=np.full(5, -np.inf))
    (found,) = index.mixture([silent])
    assert len(found.id_N) == 0, "no vector has a say"


def test_a_saved_index_searches_as_before(tmp_path):
    index, _ = large("latent")
    index.save(tmp_path)
    opened = load_embedded(tmp_path)
    assert opened.has_mixture
    assert opened.info() == index.info()
    asked = users(latent, 5, 7)
    for a, b in zip(index.mixture(asked), opened.mixture(asked), strict=True):
        assert a.id_N.tolist() == b.id_N.tolist()


def test_an_index_whose_build_did_not_say_promise_and_floor_opens(tmp_path):
    index, _ = large("latent")
    index.save(tmp_path)
    info = index.info()
    older = {name: value for name, value in info["mixture"].items() if name not in {"promise", "floor"}}
    files.write_description(tmp_path, {**info, "mixture": older})
    opened = load_embedded(tmp_path)
    assert opened.info()["mixture"] == {**info["mixture"], "promise": None, "floor": None}
    asked = users(latent, 5, 7)
    for a, b in zip(index.mixture(asked), opened.mixture(asked), strict=True):
        assert a.id_N.tolist() == b.id_N.tolist()


def test_an_index_that_finds_too_little_does_not_offer_mixtures(monkeypatch, tmp_path):
    monkeypatch.setattr(inverted_mixture, "_best_pairs", lambda *_: (np.zeros(1, int), np.zeros(1, int)))
    rng = np.random.default_rng(0)
    index = LiveIndex(build(np.arange(600), latent(rng, 600, 8), users=users_of_width(8), target=PROMISE))
    assert not index.has_mixture
    info = index.info()
    assert "mixture" not in info
    assert info["mixture_fallback"] == {
        "promise": 0.95,
        "floor": 0.93,
        "depth": 60,
        "checked": None,
        "checked_on": 10,
        "reason": "no number of pairs finds 0.95 of the exact list at depth 60 with 95 % confidence",
    }
    index.remove([7])
    index.save(tmp_path)
    opened = load_embedded(tmp_path)
    assert not opened.has_mixture
    assert opened.info() == index.info()


def test_an_index_that_finds_less_than_the_floor_on_held_out_users_does_not_offer_mixtures(monkeypatch):
    monkeypatch.setattr(mixture_tuning, "_BELOW_PROMISE", -0.1)  # more than everything: a floor that nothing reaches
    item = latent(np.random.default_rng(0), 600, 8)
    fallback = build(np.arange(600), item, users=users_of_width(8), target=PROMISE).info()["mixture_fallback"]
    assert fallback["floor"] == 1.05
    assert 0.8 < fallback["checked"] <= 1
    found = f"{fallback['checked']:.4f} of the exact list at depth 60"
    assert fallback["reason"] == f"{found} on 10 held-out users, below the floor of 1.05"


@pytest.mark.parametrize("damage", [7, {"promise": 0.97}, {"unknown": 1}])
def test_a_damaged_record_of_a_fallback_is_refused(damage, tmp_path):
    index = LiveIndex(build(np.arange(60), latent(np.random.default_rng(0), 60, 8), target=PROMISE))
    index.save(tmp_path)
    files.write_description(
        tmp_path,
        {**{name: part for name, part in index.info().items() if name != "mixture"}, "mixture_fallback": damage},
    )
    with pytest.raises(ArtefactError, match=r"index\.json: 'mixture_fallback' is damaged; publish the run again"):
        load_embedded(tmp_path)


def users_of_width(width: int) -> list[MixtureQuery]:
    rng = np.random.default_rng(1)
    return [query_of(latent(rng, 3, width), 10) for _ in range(20)]
