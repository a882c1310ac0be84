"""What the explorer shows of a small release: history, interests, candidates, and what is supposed."""

import gc
import weakref

import numpy as np
import polars as pl
import pytest

from multitudes import api
from multitudes.explorer.explorer import Explorer
from multitudes.retrieval.item_updates import remove_items
from multitudes.retrieval.retriever import Retriever
from multitudes.state.protocol import Event, UserState


@pytest.fixture(scope="module")
def explorer(retriever):
    return Explorer(lambda: retriever)


def explore(explorer, *args, state=None, **kwargs) -> api.ExploreResponse:
    answer: api.ExploreResponse | None = explorer.explore(api.ExploreRequest(*args, **kwargs), state)
    assert answer is not None
    return answer


def items(candidates) -> list[int]:
    return [candidate.item_id for candidate in candidates]


def test_a_user_has_their_history_interests_candidates_and_places_and_one_vector_is_the_whole_history(
    explorer, retriever
):
    answer = explore(explorer, "ann", n=5)
    assert [event.item.item_id for event in answer.history] == [111, 104, 103, 102]
    assert answer.history[0].time_s == 10 * 86_400
    assert [event.interest for event in answer.history] == [1] * 4
    assert answer.followed_topics == ("Crime",)
    assert items(answer.candidates) == items(retriever.recommend("ann", n=5, request_id="explorer").candidates)
    assert [place.item_id for place in answer.map] == items(answer.candidates)
    assert all(place.x is not None and 0 <= place.x <= 1 for place in answer.map)
    assert answer.one_vector is not None
    assert {one.source for one in answer.one_vector} == {"unconditioned"}
    assert items(answer.one_vector) != items(answer.candidates)
    rows = explore(explorer, "bob", n=3).rows
    assert [(row.title, len(row.candidates)) for row in rows] == [("Crime, like Film 111", 9), ("Drama", 10)]
    assert [row.title for row in explore(explorer, "bob", mute_interests=[1]).rows] == ["Drama", "Crime"]


def test_a_supposed_event_ends_the_history_and_is_kept_nowhere(explorer, shared_releases):
    before = explore(explorer, "bob", n=3)
    answer = explore(explorer, "bob", added=[101], n=3)
    assert [(event.item.item_id, event.added) for event in answer.history] == [(101, True), (111, False)]
    assert 101 not in items(answer.candidates)
    assert explore(explorer, "bob", n=3) == before
    anonymous = explore(explorer, history=[111], added=[101], n=3)
    assert [(event.item.item_id, event.added) for event in anonymous.history] == [(101, True), (111, False)]
    assert anonymous.history[0].time_s is None
    retriever = Retriever.open(shared_releases, cached_users=5)
    explore(Explorer(lambda: retriever), "bob", added=[101], n=3)
    assert retriever.vector_cache.get("bob") is None
    retriever.recommend("bob", n=3)
    assert retriever.vector_cache.get("bob") is not None, "the control"


def test_the_calibration_that_is_asked_for_divides_the_list_and_not_that_of_one_vector(explorer, retriever):
    none, whole = (explore(explorer, "ann", n=4, calibration=part) for part in (0.0, 1.0))
    for part, answer in ((0.0, none), (1.0, whole)):
        said = retriever.recommend("ann", n=4, calibration=part, request_id="explorer")
        assert items(answer.candidates) == items(said.candidates)
    assert items(none.candidates) != items(whole.candidates)
    assert none.one_vector == whole.one_vector


def test_a_share_of_one_gives_an_interest_the_whole_list(explorer):
    for number in (2, 3):
        answer = explore(explorer, "bob", n=4, interest_shares=[api.InterestShare(number, 1.0)])
        assert {candidate.interest for candidate in answer.candidates} == {number}
        assert [one.share for one in answer.interests] == [float(one.number == number) for one in answer.interests]
    as_published = explore(explorer, "bob", n=4, interest_shares=[api.InterestShare(9, 1.0)])
    assert as_published.interests == explore(explorer, "bob", n=4).interests, "no such interest: as without shares"


def test_the_map_describes_the_release_and_nobody_of_whom_nothing_is_known(explorer):
    assert explorer.explore(api.ExploreRequest("zoe")) is None
    assert explorer.explore(api.ExploreRequest("ann"), UserState("ann", erased=True)) is None
    assert explore(explorer, "eve").reason == "no interest is known: popular items", (
        "she is there, with nothing that makes an interest"
    )
    new = explore(explorer, "zoe", state=UserState("zoe", (Event("e", "zoe", 105, 5),)))
    assert [event.item.item_id for event in new.history] == [105]
    shown = explorer.map()
    assert (shown.release, shown.users, shown.items, shown.text_user_ids) == ("0001", 3, 20, True)
    assert shown.topics == ("Drama", "Crime")
    assert items(shown.map) == list(range(101, 121))
    assert np.isfinite([(one.x, one.y) for one in shown.map]).all()


@pytest.mark.parametrize(
    ("text", "found"), [("film 10", range(101, 110)), ("FILM 11", [110, *range(111, 120)]), ("117", [117]), ("[", [])]
)
def test_items_are_found_by_title_or_id_most_popular_first(text, found, explorer):
    assert items(explorer.search_items(text, 20).items) == list(found)
    assert items(explorer.search_items(text, 2).items) == list(found)[:2]


def test_an_item_that_left_the_release_has_no_place_and_is_not_found(releases, tmp_path):
    pl.DataFrame({"item_id": [104]}).write_parquet(tmp_path / "gone.parquet")
    remove_items(releases, tmp_path / "gone.parquet")
    opened = Retriever.open(releases)
    explorer = Explorer(lambda: opened)
    places = {event.item.item_id: event.item.x for event in explore(explorer, "ann").history}
    assert places[104] is None
    assert places[103] is not None
    assert explorer.search_items("Film 104", 5).items == ()
    assert 104 not in items(explorer.map().map)


def test_a_release_that_no_longer_serves_is_freed(shared_releases):
    serving = [Retriever.open(shared_releases)]
    explorer, release = Explorer(lambda: serving[0]), weakref.ref(serving[0].release)
    explorer.map()
    serving[0] = Retriever.open(shared_releases)
    gc.collect()
    assert release() is None


def test_users_and_titles_are_found_as_they_are_written(shared_releases, explorer):
    retriever = Retriever.open(shared_releases)
    titles = retriever.release.items.with_columns(title=pl.lit("Große Straße"))
    retriever.release.__dict__["items"] = titles
    assert items(Explorer(lambda: retriever).search_items("GROSSE", 1).items) == []
    assert items(Explorer(lambda: retriever).search_items("straße", 1).items) == [101]
    assert explorer.draw_users(10, seed=0) == ["ann", "bob", "eve"]
    assert len(set(explorer.draw_users(2))) == 2
