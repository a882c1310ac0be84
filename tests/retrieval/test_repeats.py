"""Requests that allow seen items: own items and new ones compete for the places, and say why they are there."""

from pathlib import Path

import numpy as np
import pytest

from multitudes.data.own_items import group_events
from multitudes.repeats import RankedItems, RepeatModel
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.repeats import RepeatSource
from multitudes.retrieval.request import Degradation, Request
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.search import POPULAR, REPEAT, Candidates
from multitudes.state.protocol import Event, UserState
from tests.release.small_release import DAY, publish_small
from tests.retrieval.worlds import catalogue

# Only the number of events counts; two of three next items are repeats; a tenth of the new ones is in 10 candidates.
MODEL = RepeatModel(item_weights=(1, 0, 0, 0, 0), share_weights=(np.log(2), 0, 0), hit_rate=0.1, depth=10, exponent=1)
SEEN = {101, 102, 103, 104, 111}


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("releases")
    publish_small(root, repeats=MODEL.model_dump(), positive_actions=("view",))
    return root


@pytest.fixture(scope="module")
def retriever(releases: Path) -> Retriever:
    return Retriever.open(releases)


def found(items, interest=0):
    return Candidates(
        np.array(items, dtype=np.int64),
        score_N=np.linspace(-1, -2, len(items), dtype=np.float32),
        interest_N=np.full(len(items), interest),
        found_by_NK=np.ones((len(items), 1), dtype=np.bool_),
        kinds=("unconditioned",),
        share_K=np.ones(1),
    )


def with_share(share):
    """Return the model with the same share of repeats for all users."""
    return MODEL.model_copy(update={"share_weights": (float(np.log(share / (1 - share))), 0.0, 0.0)})


def merged(model, items, history, n, excluded=(), known=20, interest=0):
    own = group_events(np.zeros(len(history), dtype=np.int64), np.array(history, dtype=np.int64), 1)
    source = RepeatSource(model, np.zeros(known + 1, dtype=np.float32))
    items_in_index = catalogue(np.eye(known, dtype=np.float32))
    excluded = [np.array(excluded, dtype=np.int64)]
    (one,) = source.add_repeats([found(items, interest)], [own], [n], excluded, items_in_index)
    return one


def test_places_go_to_the_most_probable_items_that_may_return():
    one = merged(MODEL, [5, 6, 7], [1, 2, 1, 1], n=4)
    assert one.item_N.tolist() == [1, 2, 5, 6]
    assert one.interest_N.tolist() == [REPEAT, REPEAT, 0, 0]
    assert one.sources == ["repeat", "repeat", "unconditioned", "unconditioned"]
    np.testing.assert_allclose(np.exp(one.score_N[:2]), [1 / 2, 1 / 6], rtol=1e-6)
    assert one.found_by_NK.ravel().tolist() == [False, False, True, True]
    assert merged(with_share(0.02), [5, 6, 7], [1, 2, 1, 1], n=5).item_N.tolist() == [1, 5, 6, 7, 2]
    assert merged(MODEL, [5, 6], [1, 2, 1, 1, 25], n=4, excluded=[1]).item_N.tolist() == [2, 5, 6]
    assert merged(MODEL, [5, 6], [], n=2).item_N.tolist() == [5, 6]
    ranked = MODEL.rank(
        group_events(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), 1), np.zeros(0, np.float32)
    )
    assert isinstance(ranked, RankedItems)
    assert ranked.log_new_B.tolist() == [0]


def test_without_repeats_the_list_is_the_same_object():
    before = found([5, 6, 7])
    source = RepeatSource(with_share(1e-6), np.zeros(21, dtype=np.float32))
    own = group_events(np.zeros(2, dtype=np.int64), np.array([1, 2]), 1)
    no_items, items = [np.zeros(0, dtype=np.int64)], catalogue(np.eye(20, dtype=np.float32))
    assert source.add_repeats([before], [own], [3], no_items, items)[0] is before


def test_a_list_without_popular_items_is_not_degraded():
    few = found([5, 6], POPULAR)
    assert few.sources == ["popular", "popular"]
    assert merged(MODEL, [5, 6], [1, 2], n=4, interest=POPULAR).shortfalls == ()


def test_requests_that_exclude_seen_items_are_answered_as_without_a_model(retriever: Retriever, shared_releases: Path):
    plain = Retriever.open(shared_releases)
    for user in ("ann", "bob", "eve", "zed"):
        one, other = (some.recommend(user, n=8).to_dict(explain=True) for some in (retriever, plain))
        for candidate in (*one["candidates"], *other["candidates"]):
            del candidate["because"]  # a release with repeats knows more own items
        assert one == other


def test_own_items_return_with_their_reason_unless_the_request_excludes_or_mutes_them(retriever: Retriever):
    answer = retriever.recommend("ann", n=12, exclude_seen=False)
    repeats = [candidate for candidate in answer.candidates if candidate.source == "repeat"]
    assert [one.item_id for one in repeats] == [102, 101, 103, 104, 111]
    assert [one.rank for one in repeats] == [1, 2, 3, 4, 5], "each of them is likelier than a new item"
    assert {(one.interest, one.interest_name, one.found_by) for one in repeats} == {(None, "you come back to it", ())}
    new = [candidate.item_id for candidate in answer.candidates if candidate.source != "repeat"]
    assert new == [candidate.item_id for candidate in retriever.recommend("ann", n=12).candidates][: len(new)]
    assert len(set(new) | SEEN) == 12
    answer = retriever.recommend("ann", n=10, exclude=[102], exclude_seen=False)
    assert 102 not in {candidate.item_id for candidate in answer.candidates}
    (muted,) = retriever.answer([Request("ann", n=10, exclude_seen=False, mute_topics=["Drama"])])
    assert [one.item_id for one in muted.candidates if one.source == "repeat"] == [111]


def test_live_events_count_as_events(retriever: Retriever):
    def order(*events):
        state = UserState("ann", events)
        (answer,) = retriever.answer([Request("ann", n=10, user_state=state, exclude_seen=False)])
        return [one.item_id for one in answer.candidates if one.source == "repeat"]

    new = [Event(str(k), "ann", 104, 20 * DAY + k) for k in range(4)]
    assert order(*new)[:2] == [104, 102], "five events against three"
    assert order(*new, Event("x", "ann", 115, 21 * DAY))[-1] == 115
    assert 115 not in order(Event("x", "ann", 115, 21 * DAY, "hide")), "a hidden item is seen, and no repeat"
    published = [Event(str(k), "ann", 111, 10 * DAY, "view") for k in range(9)]
    assert order(*published) == order(), "the release has this event already"


def test_an_anonymous_history_and_an_overload_have_repeats_and_an_erased_user_none(retriever: Retriever):
    answer = retriever.recommend(history=[105, 106, 106], n=4, exclude_seen=False)
    assert [one.item_id for one in answer.candidates if one.source == "repeat"] == [106, 105]
    state = UserState("ann", (Event("1", "ann", 107, 20 * DAY),), erased=True)
    (answer,) = retriever.answer([Request("ann", n=4, user_state=state, exclude_seen=False)])
    assert [one.item_id for one in answer.candidates if one.source == "repeat"] == [107]
    request = Request("ann", n=6, exclude_seen=False)
    (answer,) = retriever.answer([request], degradation=Degradation.POPULAR)
    assert [one.source for one in answer.candidates] == ["repeat"] * 5 + ["popular"]
    assert answer.degraded


def test_the_settings_turn_it_on_and_off(releases: Path):
    on = Retriever.open(releases, RetrieveConfig(exclude_seen=False))
    sources = [one.source for one in on.recommend("ann", n=10).candidates]
    assert "repeat" in sources
    off = [one.source for one in on.recommend("ann", n=10, exclude_seen=True).candidates]
    assert "repeat" not in off
