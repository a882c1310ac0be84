"""A release answers: its users, people who are not in it, and everybody at once."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest

from multitudes.api import Candidate
from multitudes.errors import ArtefactError, UsageError
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.retriever import Retriever
from tests.release.small_release import publish_small


def test_a_user_gets_unseen_items_with_their_reasons_and_a_record_has_every_field(retriever: Retriever):
    answer = retriever.recommend("ann", n=8)
    items = [candidate.item_id for candidate in answer.candidates]
    assert len(set(items)) == 8
    assert not set(items) & {101, 102, 103, 104, 111}, "what ann has seen"
    assert [candidate.rank for candidate in answer.candidates] == list(range(1, 9))
    assert not answer.degraded
    assert answer.release == "0001"
    by_number = {interest.number: interest for interest in answer.interests}
    assert [by_number[k].kind for k in sorted(by_number)] == ["unconditioned", "implicit", "explicit"]
    assert sum(interest.share for interest in answer.interests) == pytest.approx(1)
    for candidate in answer.candidates:
        assert candidate.interest in by_number
        assert candidate.found_by
        assert candidate.interest is not None
        assert candidate.interest_name == by_number[candidate.interest].name
        assert candidate.source == by_number[candidate.interest].kind
        own = ("Film 101", "Film 102") if int(candidate.item_id) < 111 else ("Film 111",)
        assert tuple(one.title for one in candidate.because) == own, "of the same axis"
        assert candidate.title == f"Film {candidate.item_id}"
    assert answer.records() == [
        candidate._asdict() | {"because": [own._asdict() for own in candidate.because]}
        for candidate in answer.candidates
    ]
    assert any(record["because"] for record in answer.records())
    assert list(answer.records()[0]) == list(Candidate._fields)
    record = retriever.recommend("ann", n=3).to_dict()
    assert list(record) == ["user_id", "release", "degraded", "candidates"]
    keys = ["item_id", "title", "score", "rank", "source", "interest", "interest_name", "found_by"]
    assert all(list(candidate) == keys for candidate in record["candidates"])
    explained = retriever.recommend("ann", n=3).to_dict(explain=True)
    assert {"reason", "interests", "unknown_items", "unknown_topics"} <= explained.keys()


def test_interests_are_named_by_what_they_hold(retriever: Retriever):
    ann = {interest.kind: interest for interest in retriever.recommend("ann", n=1).interests}
    assert ann["unconditioned"].name == "whole history"
    assert ann["implicit"].name == "Drama", "three of the four valid items"
    assert ann["implicit"].items == ("Film 111", "Film 104", "Film 103"), "newest first"
    assert ann["implicit"].n_items == 4
    assert ann["implicit"].age_days == 0
    assert ann["explicit"].name == "Crime"
    bob = {interest.kind: interest for interest in retriever.recommend("bob", n=1).interests}
    assert bob["implicit"].name == "Crime, like Film 111", "a topic that bob follows has the name Crime"
    assert bob["implicit"].age_days == 1, "a day before the newest event of the release"


def test_a_user_without_usable_history_gets_popular_unseen_items_and_an_unknown_one_is_marked(retriever: Retriever):
    answer = retriever.recommend("eve", n=3)
    assert [candidate.item_id for candidate in answer.candidates] == [101, 102, 103]
    assert {candidate.source for candidate in answer.candidates} == {"popular"}
    assert answer.reason == "no interest is known: popular items"
    assert 105 not in [candidate.item_id for candidate in retriever.recommend("eve", n=30).candidates]
    answer = retriever.recommend("zoe", n=2)
    assert answer.user_id == "zoe"
    assert answer.degraded
    assert answer.reason == "user 'zoe' is not in this release: popular items"
    assert [candidate.item_id for candidate in answer.candidates] == [101, 102]


@pytest.mark.parametrize(
    ("request_", "wrong"),
    [
        ({"user_id": 7}, "user_id 7: the ids of this data are texts"),
        ({"user_id": "ann", "exclude": ["101"]}, "item_id '101': the ids of this data are integers"),
        ({"history": [101, "102"]}, "item_id '102': the ids of this data are integers"),
        ({"user_id": "ann", "n": 10**9}, "n = 1,000,000,000 candidates; expected 1 to 100,000"),
    ],
)
def test_ids_of_another_type_and_lists_without_end_are_rejected(retriever: Retriever, request_, wrong):
    with pytest.raises(UsageError, match=wrong):
        retriever.recommend(**request_)
    assert not retriever.recommend(history=[cast("int", np.int64(101))], n=2).degraded


def test_a_described_person_is_served_as_in_the_data_and_what_is_unknown_is_named(retriever: Retriever):
    described = retriever.recommend(history=[101, 102, 103, 104, 111], followed_topics=["Crime"], n=6)
    known = retriever.recommend("ann", n=6)
    assert [c.item_id for c in described.candidates] == [c.item_id for c in known.candidates]
    assert described.user_id is None
    reversed_ = retriever.recommend(history=[111, 104, 103, 102, 101], followed_topics=["Crime"], n=6)
    assert [c.item_id for c in reversed_.candidates] != [c.item_id for c in known.candidates], "newest last matters"
    answer = retriever.recommend(history=[101, 999, 998], followed_topics=["Opera", "Crime"], n=2)
    assert (answer.unknown_items, answer.unknown_topics) == ((999, 998), ("Opera",))
    assert not answer.degraded
    only_follows = retriever.recommend(followed_topics=["Crime"], n=2)
    assert [c.item_id for c in only_follows.candidates] == [111, 112]
    nothing = retriever.recommend(history=[999], n=2)
    assert nothing.reason == "no interest is known: popular items"
    item = range(101, 121)
    answer = retriever.recommend(history=[item[19]], n=3)
    assert answer.degraded
    assert item[19] not in [candidate.item_id for candidate in answer.candidates]
    assert not retriever.recommend(history=[item[1]], n=3).degraded


def test_excluded_items_do_not_come_back(retriever: Retriever):
    first = [c.item_id for c in retriever.recommend("bob", n=5).candidates]
    second = [c.item_id for c in retriever.recommend("bob", n=5, exclude=[first[0], first[3], 12345]).candidates]
    assert not {first[0], first[3]} & set(second)
    assert len(second) == 5


@pytest.mark.parametrize("left", [0, 2])
def test_a_list_is_short_only_where_all_else_is_excluded_and_says_so(retriever: Retriever, left: int):
    items = [candidate.item_id for candidate in retriever.recommend("ann", n=100).candidates]
    answer = retriever.recommend("ann", n=5, exclude=[*items[left:], *range(10_000, 11_000)])
    assert sorted(candidate.item_id for candidate in answer.candidates) == sorted(items[:left])
    reason = f"{left} of 5 candidates: no other item is left that is not excluded or muted"
    assert answer.shortfalls[-1] == ("few", reason)
    assert "candidates:" not in retriever.recommend("ann", n=5).reason


def test_a_request_can_be_replayed_and_others_draw_other_topics(shared_releases: Path):
    one = Retriever.open(shared_releases, RetrieveConfig(topics_per_request=1))
    drawn = {
        name: [i.name for i in one.recommend("bob", n=2, request_id=name).interests if i.kind == "explicit"]
        for name in map(str, range(12))
    }
    assert {tuple(topics) for topics in drawn.values()} == {("Drama",), ("Crime",)}
    assert drawn["3"] == [i.name for i in one.recommend("bob", n=2, request_id="3").interests if i.kind == "explicit"]


def test_the_batch_answers_as_one_by_one(retriever: Retriever, monkeypatch):
    monkeypatch.setattr("multitudes.retrieval.retriever._USERS_PER_BATCH", 2)
    reported = []

    def progress(done: int, total: int, note: str = "") -> None:
        reported.append((done, total))

    everybody = list(retriever.recommend_all(n=7, progress=progress))
    assert everybody == [retriever.recommend(user, n=7) for user in ("ann", "bob", "eve")]
    assert reported == [(2, 3), (3, 3)]


@pytest.mark.parametrize("who", [{}, {"user_id": "ann", "history": [101]}])
def test_a_request_is_of_a_user_or_describes_one(retriever: Retriever, who):
    with pytest.raises(UsageError, match="either user_id, or history and followed_topics"):
        retriever.recommend(**who)


def test_a_text_is_no_list_of_topics(retriever: Retriever):
    with pytest.raises(UsageError, match=r"followed_topics = 'Drama': expected a list; give \['Drama'\]"):
        retriever.recommend(followed_topics="Drama")
    with pytest.raises(UsageError, match="exclude = '101'"):
        retriever.recommend("ann", exclude="101")


def test_positions_are_not_ages_and_a_tower_that_does_not_fit_its_manifest_is_refused(tmp_path: Path):
    publish_small(tmp_path, ordered_only=True)
    assert {i.age_days for i in Retriever.open(tmp_path).recommend("ann", n=1).interests} == {None}
    publish_small(tmp_path, kinds=("implicit", "explicit", "explicit"))
    with pytest.raises(ArtefactError, match="gives 4 vectors; expected 3, as in the manifest"):
        Retriever.open(tmp_path).recommend("ann")
    publish_small(tmp_path, history_length=9)
    with pytest.raises(ArtefactError, match=r"user_tower.onnx: does not accept this input"):
        Retriever.open(tmp_path).recommend("ann")
