"""A batch of requests is answered like each request alone; preferences apply; a degraded answer says so."""

from pathlib import Path

import pytest

from multitudes.errors import UsageError
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.request import Degradation, Request, Shortfall, time_shortfall
from multitudes.retrieval.response import Recommendation
from multitudes.retrieval.retriever import Retriever
from multitudes.state.protocol import Event, UserState

DAY = 86_400


@pytest.fixture
def retriever(shared_releases: Path) -> Retriever:
    return Retriever.open(shared_releases, cached_users=10)


def items(answer: Recommendation) -> list[int]:
    return [int(candidate.item_id) for candidate in answer.candidates]


def topics(answer: Recommendation) -> list[str]:
    return [interest.name for interest in answer.interests if interest.kind == "explicit"]


def share(answer: Recommendation, number: int) -> float:
    return {interest.number: interest.share for interest in answer.interests}[number]


REQUESTS = [
    Request("ann", n=6),
    Request("zoe", n=3),
    Request("bob", n=4, request_id="7"),
    Request(history=[101, 111, 999], followed_topics=["Crime", "Opera"], n=6, exclude=[112]),
    Request("ann", n=6, mute_topics=["Crime"]),
    Request("eve", n=6),
    Request("bob", n=6, boost_topics=["Drama"], mute_interests=[0]),
    Request("ann", user_state=UserState("ann", (Event("1", "ann", 105, 20 * DAY),), ("Drama",)), n=6),
    Request("bob", n=6, boost_interests=[1], exclude=[111]),
    Request("ann", n=4, rows=2),
]


@pytest.mark.parametrize("blend", ["fusion", "round_robin", "global_top"])
@pytest.mark.parametrize("effort", [Degradation.NONE, Degradation.FEWER])
def test_a_batch_is_answered_like_each_request_alone(shared_releases: Path, blend, effort):
    retriever = Retriever.open(shared_releases, RetrieveConfig(blend=blend, topics_per_request=2))
    together = retriever.answer(REQUESTS, degradation=effort)
    assert together == [retriever.answer([request], degradation=effort)[0] for request in REQUESTS]
    distinct = len({tuple(items(answer)) for answer in together})
    assert distinct >= 8, "every request has an answer of its own; where only scores count, no share matters"


def test_a_list_is_an_answer_without_what_only_a_person_reads(retriever: Retriever):
    for one, answer in zip(retriever.id_lists(REQUESTS), retriever.answer(REQUESTS), strict=True):
        assert one.item_ids == [candidate.item_id for candidate in answer.candidates]
        assert one.candidates.sources == [candidate.source for candidate in answer.candidates]
        assert one.candidates.score_N.tolist() == [candidate.score for candidate in answer.candidates]
        assert (one.degraded, one.unknown_topics) == (answer.degraded, answer.unknown_topics)
        named = {interest.number: interest.name for interest in answer.interests if interest.kind == "explicit"}
        assert {k: one.topics[k] for k in named} == named


def test_a_muted_topic_has_neither_vector_nor_items(retriever: Retriever):
    free = retriever.answer([Request("bob", n=15)])[0]
    assert set(topics(free)) == {"Drama", "Crime"}
    assert {item for item in items(free) if item <= 110}, "the control: Drama comes where nobody mutes it"
    muted = retriever.answer([Request("bob", n=15, mute_topics=["Drama"])])[0]
    assert topics(muted) == ["Crime"]
    assert items(muted) == list(range(112, 121)), "all that is left of the other topic, which is fewer than asked for"
    popular = retriever.recommend_popular(Request("bob", n=3, mute_topics=["Drama"]), time_shortfall("popular items"))
    assert items(popular) == [112, 113, 114]


def test_a_boosted_topic_is_surely_drawn_and_counts_three_times(shared_releases: Path):
    one = Retriever.open(shared_releases, RetrieveConfig(topics_per_request=1, explicit_share=0.2))
    drawn = {tuple(topics(one.answer([Request("bob", n=2, request_id=str(i))])[0])) for i in range(12)}
    assert drawn == {("Drama",), ("Crime",)}, "the control"
    boosted = [one.answer([Request("bob", n=2, request_id=str(i), boost_topics=["Drama"])])[0] for i in range(12)]
    assert {tuple(topics(answer)) for answer in boosted} == {("Drama",)}
    assert share(boosted[0], 2) == pytest.approx(3 * 0.2 / (0.8 + 3 * 0.2))
    both = Retriever.open(shared_releases).answer([Request("bob", n=2, boost_topics=["Drama"])])[0]
    assert topics(both) == ["Drama", "Crime"], "drawn once, and a place is left for another"
    muted = {
        tuple(topics(one.answer([Request("bob", n=2, request_id=str(i), mute_topics=["Drama"])])[0])) for i in range(12)
    }
    assert muted == {("Crime",)}, "what is muted takes no place in the draw"
    unfollowed = one.answer([Request("ann", n=2, boost_topics=["Drama"])])[0]
    assert topics(unfollowed) == ["Drama"], "a preference needs no follow"


def test_muting_goes_before_boosting_and_unknown_topics_are_named(retriever: Retriever):
    request = Request("bob", n=9, mute_topics=["Drama", "Opera"], boost_topics=["Drama", "Ballet"])
    answer = retriever.answer([request])[0]
    assert topics(answer) == ["Crime"]
    assert answer.unknown_topics == ("Opera", "Ballet")
    assert not answer.degraded


@pytest.mark.parametrize("blend", ["fusion", "round_robin"])
def test_interests_are_muted_and_boosted_by_number(shared_releases: Path, blend):
    retriever = Retriever.open(shared_releases, RetrieveConfig(blend=blend, topics_per_request=2))
    plain, without, more = retriever.answer(
        [Request("ann", n=8), Request("ann", n=8, mute_interests=[1, 99]), Request("ann", n=8, boost_interests=[1])]
    )
    assert 1 not in [interest.number for interest in without.interests]
    assert share(more, 1) == pytest.approx(3 * share(plain, 1) / (1 + 2 * share(plain, 1)))
    assert sum(interest.share for interest in more.interests) == pytest.approx(1)
    if blend == "round_robin":  # places follow shares exactly
        brought = [sum(c.interest == 1 for c in answer.candidates) for answer in (plain, more)]
        assert brought[1] > brought[0]


@pytest.mark.parametrize("blend", ["fusion", "round_robin"])
def test_a_boosted_interest_has_a_share_where_the_whole_history_has_the_list(shared_releases: Path, blend):
    whole = RetrieveConfig(blend=blend, topics_per_request=1, unconditioned_share=1.0, explicit_share=0.0)
    plain, more, topic = Retriever.open(shared_releases, whole).answer(
        [
            Request("bob", n=8),
            Request("bob", n=8, boost_interests=[1]),
            Request("bob", n=8, boost_topics=["Drama"], request_id="0"),
        ]
    )
    assert [interest.share for interest in plain.interests[1:]] == pytest.approx([0.0] * (len(plain.interests) - 1))
    for answer in (more, topic):
        assert answer.interests[0].share == pytest.approx(1 / 1.15)
        assert sum(interest.share for interest in answer.interests) == pytest.approx(1)
    assert share(more, 1) == pytest.approx(0.15 / 1.15)


def test_fewer_vectors_are_the_strongest_ones(shared_releases: Path):
    retriever = Retriever.open(shared_releases, RetrieveConfig(topics_per_request=2))
    request = Request("bob", n=5)
    full, fewer = (
        retriever.answer([request], degradation=effort)[0] for effort in (Degradation.NONE, Degradation.FEWER)
    )
    assert (len(full.interests), len(fewer.interests)) == (4, 3)
    weakest = min(full.interests, key=lambda interest: (interest.share, -interest.number))
    assert {i.number for i in fewer.interests} == {i.number for i in full.interests} - {weakest.number}
    assert (full.reason, fewer.reason) == ("", "to be in time: only the strongest interests")
    assert fewer.degradation == Degradation.FEWER


class Dead:
    """A tower that must not be called."""

    def get_inputs(self):
        raise AssertionError("the tower was called")


def test_cached_vectors_need_no_tower_and_are_those_of_the_last_answer(retriever: Retriever):
    first = retriever.answer([Request("ann", n=5)])[0]
    retriever.release.__dict__["user_tower"] = Dead()
    again, unknown, described = retriever.answer(
        [Request("ann", n=5), Request("bob", n=5), Request(history=[101], n=5)], degradation=Degradation.CACHED
    )
    assert items(again) == items(first)
    assert (again.degradation, again.reason) == (Degradation.CACHED, "to be in time: the interests of the last answer")
    for answer, seen in ((unknown, 111), (described, 101)):
        assert (answer.degradation, answer.reason) == (Degradation.POPULAR, "to be in time: popular items")
        assert len(items(answer)) == 5
        assert seen not in items(answer)
    assert (
        items(retriever.answer([Request("ann", n=5, exclude=items(first)[:1])], degradation=Degradation.CACHED)[0])[0]
        != items(first)[0]
    )


def test_what_one_request_asks_of_its_list_is_not_in_the_answer_from_the_cache(retriever: Retriever):
    """Shares, mutes and calibration are of a request; the cache has what the tower made of the user."""
    plain = retriever.answer([Request("ann", n=5)])[0]
    asked = Request("ann", n=5, interest_shares={1: 1.0}, calibration=1.0)
    assert [one.share for one in retriever.answer([asked])[0].interests] != [one.share for one in plain.interests]
    cached = retriever.answer([Request("ann", n=5)], degradation=Degradation.CACHED)[0]
    assert [one.share for one in cached.interests] == [one.share for one in plain.interests]
    assert items(cached) == items(plain)


def test_the_least_recently_answered_user_leaves_the_cache(shared_releases: Path):
    retriever = Retriever.open(shared_releases, cached_users=1)
    retriever.answer([Request("ann", n=5)])
    retriever.answer([Request("bob", n=5)])
    efforts = [
        retriever.answer([Request(user, n=5)], degradation=Degradation.CACHED)[0].degradation for user in ("bob", "ann")
    ]
    assert efforts == [Degradation.CACHED, Degradation.POPULAR]


def test_without_state_the_last_answer_then_the_release_then_popular_items(retriever: Retriever):
    lost = "the state does not answer"
    fresh = UserState("ann", (Event("1", "ann", 105, 20 * DAY),))
    first = retriever.answer([Request("ann", user_state=fresh, n=5)])[0]
    ann, bob, zoe = retriever.answer([Request(user, n=5, state_error=lost) for user in ("ann", "bob", "zoe")])
    assert items(ann) == items(first)
    assert 105 not in items(ann), "what was seen since the release is still known"
    assert ann.reason == f"{lost}: the interests of the last answer"
    assert items(bob) == items(retriever.recommend("bob", n=5))
    assert bob.reason == f"{lost}: the history as it was published"
    assert zoe.reason == f"{lost}: popular items"
    assert {answer.degraded for answer in (ann, bob, zoe)} == {True}
    assert {answer.cause for answer in (ann, bob, zoe)} == {"state"}


def test_that_the_state_is_lost_is_the_first_cause_whatever_else_is_short(retriever: Retriever):
    lost = Request("bob", n=5, state_error="the state does not answer")
    [fewer] = retriever.answer([lost], degradation=Degradation.FEWER)
    assert [short.cause for short in fewer.shortfalls] == ["state", "time"]
    assert fewer.reason == (
        "the state does not answer: the history as it was published; to be in time: only the strongest interests"
    )
    for answer in (fewer, retriever.recommend_popular(lost, time_shortfall("popular items"))):
        assert answer.cause == "state"
    assert retriever.recommend_popular(Request("bob"), time_shortfall("popular items")).cause == "time", "the control"


def test_of_who_was_forgotten_neither_the_last_answer_nor_the_release_is_used(retriever: Retriever):
    retriever.answer([Request("ann", n=5), Request("bob", n=5)])
    gone = UserState("ann", erased=True)
    for stateless, why in (("", "nothing is known of user 'ann'"), ("lost", "lost")):
        answer = retriever.answer([Request("ann", user_state=gone, n=5, state_error=stateless)])[0]
        assert (answer.reason, items(answer)) == (f"{why}: popular items", [101, 102, 103, 104, 105])
    assert retriever.vector_cache.get("ann") is None
    retriever.answer([Request("ann", n=5)])
    hurried = retriever.recommend_popular(
        Request("ann", user_state=gone, n=5, state_error="lost"), time_shortfall("popular items")
    )
    assert items(hurried) == [101, 102, 103, 104, 105], "what they had seen is forgotten too"
    retriever.vector_cache.remove("bob")
    assert retriever.vector_cache.get("bob") is None


def test_an_answer_that_was_under_way_does_not_bring_a_forgotten_user_back(retriever: Retriever):
    retriever.vector_cache.remove("ann")
    retriever.answer(
        [Request("ann", user_state=UserState("ann", (Event("1", "ann", 105, 20 * DAY),)), n=5)]
    )  # read before
    for effort, stateless in ((Degradation.CACHED, ""), (Degradation.NONE, "lost")):
        request = Request("ann", user_state=UserState("ann", erased=True), n=5, state_error=stateless)
        assert retriever.answer([request], degradation=effort)[0].degradation == Degradation.POPULAR
    # The control: of somebody who came back there is a last answer.
    returned = UserState("ann", (Event("2", "ann", 106, 20 * DAY),), erased=True)
    retriever.answer([Request("ann", user_state=returned, n=5)])
    assert retriever.vector_cache.get("ann") is not None


def test_popular_items_are_unseen_and_never_need_the_tower(retriever: Retriever):
    retriever.release.__dict__["user_tower"] = Dead()
    much = Shortfall("failed", "too much is asked")
    answer = retriever.recommend_popular(Request("ann", n=4, exclude=[105]), much)
    assert items(answer) == [106, 107, 108, 109]
    assert (answer.reason, answer.degradation, answer.user_id) == ("too much is asked", Degradation.POPULAR, "ann")
    everything = retriever.recommend_popular(Request("ann", n=500), much)
    assert len(items(everything)) == 15


def test_the_timer_is_called_at_the_end_of_each_stage_and_an_invalid_request_starts_none(retriever: Retriever):
    stages: list[str] = []
    retriever.answer([Request("ann", n=2), Request("bob", n=2)], timer=stages.append)
    assert stages == ["users", "tower", "search", "blend", "names"]
    with pytest.raises(UsageError, match="0 candidates"):
        retriever.answer([Request("ann"), Request("bob", n=0)])
    assert retriever.answer([]) == []


def test_an_interest_is_as_old_as_its_newest_item_was_when_it_was_asked(retriever: Retriever):
    person = UserState("ann", (Event("1", "ann", 105, 20 * DAY),))

    def ages(time_s: int | None) -> set[float]:
        [answer] = retriever.answer([Request("ann", user_state=person, n=3, time_s=time_s)])
        return {one.age_days for one in answer.interests if one.age_days is not None}

    assert min(ages(22 * DAY)) == 2
    assert max(ages(22 * DAY)) == 2 + max(ages(20 * DAY))
    assert min(ages(None)) == 0, "newer than all that the release has"
    assert min(ages(19 * DAY)) == 0, "a clock that is behind makes nobody younger than now"
