"""Events, follows, and forgetting: what is kept of a user is what was said, until they are forgotten."""

import errno
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from multitudes.api import MAX_UNKNOWN
from multitudes.client import path_segment
from multitudes.errors import StateError
from multitudes.retrieval.retriever import Retriever
from multitudes.service.app import create_app
from tests.service.conftest import ask, refusal

EVENT = {"event_id": "e-1", "user_id": "ann", "item_id": 105, "time_s": 1_700_000_000, "action": "view"}
NOTHING: dict[str, Any] = {"user_id": "ann", "followed_topics": None, "events": [], "forgotten": False}


def test_events_are_kept_and_logged_once_each(call, deps):
    second = EVENT | {"event_id": "e-2", "item_id": 106, "time_s": 1_700_000_001, "request_id": "r-1"}
    both = call("POST", "/v1/events", json={"events": [EVENT, second]}).json()
    assert both == {"new": 2, "repeated": 0, "cut": 0, "unknown_items": []}
    assert call("POST", "/v1/events", json={"events": [second]}).json() == both | {"new": 0, "repeated": 1}
    kept = call("GET", "/v1/users/ann").json()
    assert [(e["event_id"], e["item_id"], e["time_s"]) for e in kept["events"]] == [
        ("e-1", 105, 1_700_000_000),
        ("e-2", 106, 1_700_000_001),
    ]
    assert [event.request_id for event in deps.logs.events] == [None, "r-1", "r-1"]


def test_items_of_events_that_the_release_does_not_know_are_named_and_counted(call, deps):
    sent = [EVENT | {"event_id": f"u-{n}", "item_id": 999 + n // 2} for n in range(60)]
    answer = call("POST", "/v1/events", json={"events": [EVENT, *sent]}).json()
    assert (answer["new"], answer["unknown_items"]) == (61, [*range(999, 999 + MAX_UNKNOWN)])
    assert b"multitudes_unknown_items_total 30.0" in deps.metrics.render()


def test_an_event_without_a_time_is_of_now(call, deps):
    call("POST", "/v1/events", json={"events": [{name: EVENT[name] for name in ("event_id", "user_id", "item_id")}]})
    (event,) = deps.logs.events
    assert event.time_s > 1_700_000_000
    assert event.action is None


def test_events_are_not_acknowledged_before_they_are_written_down(call, deps):
    deps.logs.full = True
    response = call("POST", "/v1/events", json={"events": [EVENT]})
    assert refusal(response)[:2] == (503, "unavailable")
    assert int(response.headers["retry-after"]) >= 1
    deps.logs.full, deps.states.error = False, StateError("the store is away")
    assert refusal(call("POST", "/v1/events", json={"events": [EVENT]})) == (503, "unavailable", "the store is away")
    assert deps.logs.events == []
    deps.states.error = None
    assert call("POST", "/v1/events", json={"events": [EVENT]}).json()["repeated"] == 1
    assert [event.event_id for event in deps.logs.events] == ["e-1"], "the log has it now, though the state had it"


def test_what_comes_late_of_who_was_forgotten_does_not_come_back_by_way_of_the_log(call, deps):
    late, since, others = (EVENT | {"event_id": name} for name in ("late", "since", "others"))
    call("POST", "/v1/events", json={"events": [late]})
    call("DELETE", "/v1/users/ann")
    deps.logs.events.clear()
    deps.states.late.add("late")
    sent = [late, since, others | {"user_id": "bob"}]
    assert call("POST", "/v1/events", json={"events": sent}).json()["new"] == 2
    assert [event.event_id for event in deps.logs.events] == ["since", "others"]


def test_an_event_that_comes_while_its_user_is_forgotten_is_not_logged(call, deps, monkeypatch):
    append = deps.states.append

    async def overtaken(*args):
        appended = await append(*args)
        await deps.states.erase("ann")
        return appended

    monkeypatch.setattr(deps.states, "append", overtaken)
    sent = [EVENT, EVENT | {"user_id": "bob"}]
    assert call("POST", "/v1/events", json={"events": sent}).json()["new"] == 2
    assert [event.user_id for event in deps.logs.events] == ["bob"]


@pytest.mark.parametrize("away", [None, StateError("the store is away")], ids=["store", "no store"])
def test_an_answer_that_is_under_way_while_its_user_is_forgotten_is_not_logged(away, call, deps, monkeypatch):
    ann, deps.states.error = {"user_id": "ann", "n": 2}, away
    answer = deps.engine.answer

    def overtaken(*args):
        deps.states.forgotten.add((str, "ann"))
        return answer(*args)

    monkeypatch.setattr(deps.engine, "answer", overtaken)
    assert call("POST", "/v1/recommend", json=ann).status_code == 200
    deps.states.forgotten.clear()
    call("POST", "/v1/recommend/batch", json={"requests": [ann, ann | {"user_id": "bob"}]})
    assert [answer.user_id for answer in deps.logs.answers] == ["bob"]
    call("POST", "/v1/recommend", json=ann)
    assert [answer.user_id for answer in deps.logs.answers] == ["bob", "ann"], "who comes back is somebody new"


def test_follows_replace_those_of_before(call, deps):
    assert call("GET", "/v1/users/ann").json() == NOTHING
    stated = call("PUT", "/v1/users/ann", json={"followed_topics": ["Drama", "Crime"]}).json()
    assert stated["followed_topics"] == ["Drama", "Crime"]
    assert call("PUT", "/v1/users/ann", json={"followed_topics": []}).json()["followed_topics"] == []
    assert call("GET", "/v1/users/ann").json()["followed_topics"] == []


def test_a_user_is_forgotten_in_the_state_and_then_in_the_logs(call, deps):
    call("POST", "/v1/events", json={"events": [EVENT]})
    assert call("DELETE", "/v1/users/ann").json() == {"user_id": "ann", "known": True}
    assert deps.logs.forgotten == ["ann"]
    assert call("GET", "/v1/users/ann").json() == NOTHING | {"forgotten": True}
    assert call("DELETE", "/v1/users/ann").json()["known"] is False
    assert deps.logs.forgotten == ["ann", "ann"], "one that was interrupted is done again"
    deps.states.error = StateError("the store is away")
    assert call("DELETE", "/v1/users/bob").status_code == 503
    assert deps.logs.forgotten == ["ann", "ann", "bob"], "the rows go at once, and the sender comes again"


def test_the_vectors_of_their_last_answer_go_with_a_user(call, deps, monkeypatch):
    remembering = Retriever(deps.get_retriever().release, cached_users=9)
    monkeypatch.setattr(deps.engine, "retriever", remembering)
    for user in ("ann", "bob"):
        call("POST", "/v1/recommend", json={"user_id": user, "n": 1})
    assert len(remembering.vector_cache) == 2
    app = create_app(replace(deps, get_retriever=lambda: remembering))
    assert ask(app, "DELETE", "/v1/users/ann").status_code == 200
    assert (remembering.vector_cache.get("ann"), len(remembering.vector_cache)) == (None, 1)


@pytest.mark.parametrize("room", ["states", "logs"])
def test_who_cannot_be_forgotten_for_want_of_disk_is_told_to_come_again(room, call, deps, monkeypatch, caplog):
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(getattr(deps, room), {"states": "erase", "logs": "erase_user"}[room], Mock(side_effect=full))
    response = call("DELETE", "/v1/users/ann")
    assert refusal(response)[:2] == (503, "unavailable")
    assert int(response.headers["retry-after"]) >= 1
    assert "a user is not erased completely" in caplog.text


def test_who_was_forgotten_is_not_found_again_behind_a_state_that_fails(call, deps):
    call("DELETE", "/v1/users/ann")
    deps.states.error = StateError("the store is away")
    ann, bob = (call("POST", "/v1/recommend", json={"user_id": user, "n": 2}).json() for user in ("ann", "bob"))
    assert (ann["reason"], ann["interests"]) == ("the store is away: popular items", [])
    assert bob["reason"] == "the store is away: the history as it was published", "the control"


@pytest.mark.parametrize("name", ["a/b", "..", ".", "42", "é", "a?b#c", 'q"q', "%2F", " "])
def test_any_name_is_a_user(name, call, deps):
    call("PUT", f"/v1/users/{path_segment(name)}", json={"followed_topics": ["Drama"]})
    assert deps.states.follows == {(str, name): ("Drama",)}
    assert call("GET", f"/v1/users/{path_segment(name)}").json()["user_id"] == name


def test_a_number_is_no_user_where_names_are_texts(call):
    status, _, message = refusal(call("GET", "/v1/users/42"))
    assert (status, "texts" in message) == (422, True)
