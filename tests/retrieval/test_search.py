"""From vectors to candidates: full, unseen, on topic, and the same for one user and for many."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitudes.batches.user_vectors import InterestKind, UserVectors
from multitudes.index.tastes import NO_TASTE
from multitudes.retrieval import allocation, search
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.search import find_candidates, search_vectors
from tests.retrieval.worlds import catalogue, user_vectors

BLENDS = ["fusion", "round_robin", "global_top"]
every_blend = pytest.mark.parametrize("blend", BLENDS)
NOTHING = np.array([], dtype=np.int64)

# Two tastes along two axes: items 1..10 lie on the first, items 11..20 on the second, nearest first.
STRENGTH = np.linspace(1.0, 0.1, 10)
TWO_TASTES = np.concatenate([np.outer(STRENGTH, [1, 0]), np.outer(STRENGTH, [0, 1])])
TOPICS = [[1]] * 10 + [[2]] * 10


@every_blend
def test_two_tastes_bring_the_best_items_of_both(blend):
    vectors = user_vectors(("implicit", "implicit"), [[[5, 0], [0, 5]]])
    found = find_candidates(vectors, catalogue(TWO_TASTES), 6, [NOTHING], RetrieveConfig(blend=blend))[0]
    assert set(found.item_N.tolist()) == {1, 2, 3, 11, 12, 13}
    assert found.interest_N.tolist() == [0 if item <= 10 else 1 for item in found.item_N]
    assert found.sources == ["implicit"] * 6
    assert not found.shortfalls
    # The control: one vector of the same length of list sees one taste only.
    single = user_vectors(("unconditioned",), [[[5, 0]]])
    alone = find_candidates(single, catalogue(TWO_TASTES), 6, [NOTHING], RetrieveConfig(blend=blend))[0]
    assert set(alone.item_N.tolist()) == {1, 2, 3, 4, 5, 6}


@every_blend
def test_a_followed_topic_brings_only_its_own_items_unless_the_filter_is_off(blend):
    # The condition is topic 2, but its vector points at the items of topic 1.
    vectors = user_vectors(("explicit",), [[[5, 0.1]]], topic_BK=[[2]])
    items = catalogue(TWO_TASTES, TOPICS)
    found = find_candidates(vectors, items, 5, [NOTHING], RetrieveConfig(blend=blend, topics_per_request=1))[0]
    assert found.item_N.tolist() == [11, 12, 13, 14, 15]
    config = RetrieveConfig(blend=blend, topics_per_request=1, relevance_filter=False)
    assert find_candidates(vectors, items, 5, [NOTHING], config)[0].item_N.tolist() == [1, 2, 3, 4, 5]


@every_blend
def test_a_topic_with_too_few_items_is_filled_by_the_other_interests_and_then_by_popular_items(blend):
    topics = [[1]] * 18 + [[2], [2]]
    counts = np.arange(20)  # item 20 is the most popular
    items = catalogue(TWO_TASTES, topics, counts)
    config = RetrieveConfig(blend=blend, topics_per_request=1, explicit_share=0.4)
    alone = find_candidates(
        user_vectors(("explicit",), [[[0, 5]]], topic_BK=[[2]]), items, 5, [np.array([18])], config
    )[0]
    assert alone.item_N.tolist() == [19, 20, 17, 16, 15]
    assert alone.sources == ["explicit", "explicit", "popular", "popular", "popular"]
    assert alone.interest_N.tolist() == [0, 0, -1, -1, -1]
    assert alone.shortfalls == (("few", "the interests found too few items: 3 of 5 places are popular items"),)
    both = user_vectors(("implicit", "explicit"), [[[5, 0], [0, 5]]], topic_BK=[[0, 2]])
    helped = find_candidates(both, items, 5, [NOTHING], config)[0]
    assert set(helped.sources) == ({"implicit", "explicit"} if blend != "global_top" else {"implicit"})
    assert len(helped.item_N) == 5


@every_blend
def test_a_user_without_any_vector_gets_popular_items_and_is_told(blend):
    vectors = user_vectors(("unconditioned", "implicit"), np.full((2, 2, 2), np.nan), mask_BK=[[0, 0], [0, 0]])
    items = catalogue(TWO_TASTES, counts=np.arange(20))
    found = find_candidates(vectors, items, 3, [np.array([19]), NOTHING], RetrieveConfig(blend=blend))
    assert found[0].item_N.tolist() == [20, 18, 17]
    assert found[1].item_N.tolist() == [20, 19, 18]
    assert found[0].shortfalls == (("unknown", "no interest is known: popular items"),)
    assert not found[0].found_by_NK.any()


@every_blend
def test_without_an_event_topics_and_popular_items_take_turns_unless_the_request_sets_shares(blend):
    kinds: tuple[InterestKind, ...] = ("unconditioned", "explicit")
    config = RetrieveConfig(blend=blend)
    items = catalogue(TWO_TASTES, [[1]] * 20, np.arange(20))  # item 20 is the most popular
    share = np.full((5, 2), np.nan)
    share[3], share[4] = (1.0, 0.0), 0.0
    vectors = user_vectors(kinds, np.tile([5, 0.5], (5, 2, 1)), mask_BK=[[1, 0], *[[1, 1]] * 4], topic_BK=[[0, 1]] * 5)
    alone, topics, known, asks, asks_nothing = find_candidates(
        vectors._replace(events_B=np.array([0, 0, 1, 0, 0]), share_BK=share), items, 6, [np.array([19])] * 5, config
    )
    assert alone.item_N.tolist() == [20, 18, 17, 16, 15, 14]
    assert alone.sources == ["popular"] * 6
    for one in (topics, asks_nothing):
        assert one.item_N.tolist() == [1, 20, 2, 18, 3, 17]
        assert one.sources == ["explicit", "popular"] * 3
        assert one.found_by_NK[:, 1].tolist() == [True, False] * 3
        assert one.score_N[1::2].tolist() == [19, 17, 16]
        assert one.share_K.tolist() == [0.0, 0.5]
    for other in (known, asks):
        assert other.item_N.tolist() == [1, 2, 3, 4, 5, 6]
        assert "popular" not in other.sources
    assert not any(one.shortfalls for one in (alone, topics, asks_nothing, known, asks)), "nothing is missing"


@every_blend
def test_popular_items_beyond_their_turns_are_said_to_fill_the_list(blend):
    config = RetrieveConfig(blend=blend, topics_per_request=1)
    items = catalogue(TWO_TASTES, [[1]] * 18 + [[2], [2]], np.arange(20)[::-1])  # item 1 is the most popular
    kinds: tuple[InterestKind, ...] = ("unconditioned", "explicit")
    vectors = user_vectors(kinds, [[[5, 0], [0, 5]]], topic_BK=[[0, 2]])._replace(events_B=np.array([0]))
    (found,) = find_candidates(vectors, items, 10, [NOTHING], config)
    assert found.sources.count("popular") == 8
    assert found.shortfalls == (("few", "the interests found too few items: 3 of 10 places are popular items"),)
    (enough,) = find_candidates(vectors, items, 2, [NOTHING], config)
    assert not enough.shortfalls


@every_blend
def test_every_vector_that_found_an_item_is_named(blend):
    # Vector 1 lies between the axes, so its own best list shares items with both others.
    vectors = user_vectors(("implicit",) * 3, [[[5, 0], [3, 3], [0, 5]]])
    found = find_candidates(vectors, catalogue(TWO_TASTES), 8, [NOTHING], RetrieveConfig(blend=blend))[0]
    by_item = dict(zip(found.item_N.tolist(), found.found_by_NK.tolist(), strict=True))
    assert by_item[1] == [True, True, False]
    assert by_item[11] == [False, True, True]
    brought = found.found_by_NK[np.arange(8), found.interest_N]
    assert brought.all(), "whoever brought an item found it"


def test_a_vector_without_a_share_is_not_searched_unless_it_is_boosted_or_the_list_is_filled_by_turns():
    both, items = user_vectors(("unconditioned", "implicit"), [[[5, 4], [0, 5]]]), catalogue(TWO_TASTES)
    whole = RetrieveConfig(unconditioned_share=1.0, explicit_share=0.0)
    found = find_candidates(both, items, 8, [NOTHING], whole)[0]
    alone = find_candidates(user_vectors(("unconditioned",), [[[5, 4]]]), items, 8, [NOTHING], whole)[0]
    assert found.item_N.tolist() == alone.item_N.tolist()
    assert not found.found_by_NK[:, 1].any()
    boosted = find_candidates(both._replace(boost_BK=np.array([[1.0, 3.0]])), items, 8, [NOTHING], whole)[0]
    assert boosted.found_by_NK[:, 1].any()
    vectors = user_vectors(("unconditioned", "explicit"), [[[5, 4], [0, 5]]], topic_BK=[[0, 3]])
    few = catalogue(TWO_TASTES, [[1]] * 18 + [[3], [3]])
    turns = RetrieveConfig(blend="round_robin", topics_per_request=1, unconditioned_share=0.0, explicit_share=1.0)
    found = find_candidates(vectors, few, 6, [NOTHING], turns)[0]
    assert found.sources == ["explicit"] * 2 + ["unconditioned"] * 4


@st.composite
def populations(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n_items, users = draw(st.integers(1, 40)), draw(st.integers(1, 6))
    kinds: tuple[InterestKind, ...] = ("unconditioned", "implicit", "implicit", "explicit", "explicit")
    topics = [sorted(set(rng.integers(1, 5, rng.integers(0, 3)).tolist())) for _ in range(n_items)]
    items = catalogue(rng.integers(-2, 3, (n_items, 3)), topics, rng.integers(0, 9, n_items))
    mask = rng.random((users, 5)) < 0.6
    topic = np.where([k == "explicit" for k in kinds], rng.integers(1, 6, (users, 5)), 0)
    vectors = user_vectors(kinds, rng.integers(-2, 3, (users, 5, 3)), rng.random((users, 5)), mask, topic)
    seen = [rng.choice(np.arange(1, n_items + 1), rng.integers(0, n_items + 1), replace=False) for _ in range(users)]
    return items, vectors, seen, draw(st.integers(0, 30))


@every_blend
@given(world=populations())
@settings(max_examples=30, deadline=None)
def test_as_many_as_the_catalogue_has_unseen_no_repeats_and_the_same_alone_as_in_company(blend, world):
    items, vectors, seen, n = world
    config = RetrieveConfig(blend=blend, topics_per_request=2)
    together = find_candidates(vectors, items, n, seen, config)
    for b, found in enumerate(together):
        chosen = found.item_N.tolist()
        assert len(chosen) == len(set(chosen)) == min(n, len(items.index) - len(seen[b]))
        assert not set(chosen) & set(seen[b].tolist())
        for item, k in zip(chosen, found.interest_N.tolist(), strict=True):
            if k >= 0:
                assert vectors.mask_BK[b, k]
            if found.kinds[k] == "explicit" and k >= 0:
                assert item in items.index.items_of(int(vectors.topic_BK[b, k]))
        alone = find_candidates(vectors.select(slice(b, b + 1)), items, n, seen[b : b + 1], config)[0]
        assert alone.item_N.tolist() == chosen
        assert (alone.found_by_NK == found.found_by_NK).all()


@every_blend
def test_more_users_than_one_chunk_holds_come_back_in_order(blend, monkeypatch):
    monkeypatch.setattr("multitudes.retrieval.search._USERS_PER_CHUNK", 2)
    vectors = user_vectors(("unconditioned",), [[[1, 0]], [[0, 1]], [[1, 0]], [[0, 1]], [[0, 1]]])
    found = find_candidates(vectors, catalogue(TWO_TASTES), 1, [NOTHING] * 5, RetrieveConfig(blend=blend))
    assert [f.item_N[0] for f in found] == [1, 11, 1, 11, 11]


def every_vector_alike(n_vectors: int):
    """One user whose vectors are copies, so that their lists are the same and none brings anything new."""
    kind: InterestKind = "implicit"
    return user_vectors((kind,) * n_vectors, [[[5, 0.1]] * n_vectors])


@every_blend
def test_vectors_searched_by_their_share_fill_the_list_and_bring_what_they_bring_in_full(blend, monkeypatch):
    config = RetrieveConfig(blend=blend)
    found = find_candidates(every_vector_alike(4), catalogue(TWO_TASTES), 18, [NOTHING], config)[0]
    assert sorted(found.item_N.tolist()) == list(range(1, 19))
    assert found.sources == ["implicit"] * 18, "no place went to popular items"
    vectors = user_vectors(("implicit", "implicit"), [[[5, 0], [0, 5]]] * 3)
    seen = [NOTHING, np.array([1, 2, 12]), np.arange(1, 11)]
    shared = find_candidates(vectors, catalogue(TWO_TASTES), 10, seen, RetrieveConfig(blend=blend))
    monkeypatch.setattr(search, "search_depths", lambda share_BK, most_B1, _: np.tile(most_B1, share_BK.shape[1]))
    full = find_candidates(vectors, catalogue(TWO_TASTES), 10, seen, RetrieveConfig(blend=blend))
    for a, b in zip(full, shared, strict=True):
        assert a.item_N.tolist() == b.item_N.tolist()


def tastes_of_noise() -> tuple[Catalogue, UserVectors]:
    """Return 1,500 items of three tastes, and five users of the second and third."""
    rng = np.random.default_rng(0)
    item_taste = rng.integers(0, 3, 1501).astype(np.int16)
    items = Catalogue(catalogue(rng.normal(size=(1500, 4))).index, np.zeros(1501, dtype=np.int64), item_taste)
    vectors = user_vectors(("unconditioned", "implicit"), rng.normal(size=(5, 2, 4)))
    return items, vectors._replace(taste_BT=np.tile([0.0, 0.1, 0.3], (5, 1)))


def test_an_item_is_of_no_interest_that_did_not_find_it_whatever_its_events():
    taste = np.repeat([NO_TASTE, 0, 1], [1, 10, 10]).astype(np.int16)
    taste[12] = NO_TASTE
    items = Catalogue(catalogue(TWO_TASTES).index, np.zeros(21, dtype=np.int64), taste)
    events_BTK = np.array([[[0, 1], [1, 0]]], dtype=np.float32)
    vectors = user_vectors(("implicit", "implicit"), [[[5, 0], [0, 5]]])._replace(events_BTK=events_BTK)
    (found,) = find_candidates(vectors, items, 6, [NOTHING], RetrieveConfig())
    interest = dict(zip(found.item_N.tolist(), found.interest_N.tolist(), strict=True))
    assert interest == {1: 0, 2: 0, 3: 0, 11: 1, 12: 1, 13: 1}, "an interest that did not find an item cannot have it"


def test_a_list_that_is_not_divided_is_the_same_beside_those_that_are():
    items, vectors = tastes_of_noise()
    nothing, config, plain = [NOTHING] * 5, RetrieveConfig(), np.array([True, False, False, False, True])
    alone = find_candidates(vectors._replace(taste_BT=None), items, 20, nothing, config)
    among = vectors._replace(taste_BT=np.where(plain[:, None], 0.0, [0.0, 0.1, 0.3]))
    same = [
        one.item_N.tolist() == other.item_N.tolist()
        for one, other in zip(alone, find_candidates(among, items, 20, nothing, config), strict=True)
    ]
    assert same == plain.tolist()


def test_a_short_list_that_is_divided_among_tastes_is_the_beginning_of_a_long_one(monkeypatch):
    items, vectors = tastes_of_noise()
    config, nothing = RetrieveConfig(unconditioned_share=0.7), [NOTHING] * 5
    plain = vectors._replace(taste_BT=None)

    def lists(n: int) -> list[list[int]]:
        found = find_candidates(vectors, items, n, nothing, config)
        assert all(one.found_by_NK.any(axis=1).all() for one in found), "also what lies deep in every list"
        return [one.item_N.tolist() for one in found]

    best = search_vectors(plain, items, 20, nothing, config).hits.id_QN.reshape(5, -1)
    assert any(not set(one) <= set(own) for one, own in zip(lists(20), best.tolist(), strict=True))
    assert lists(20) == [one[:20] for one in lists(100)]
    monkeypatch.setattr(allocation, "_LEAST_LIST", 1)
    assert lists(20) != [one[:20] for one in lists(100)], "with as few proposals as its length it is not"
