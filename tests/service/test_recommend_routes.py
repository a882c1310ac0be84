"""Recommending over HTTP: what the retriever says is what goes out, logged, in time, and marked when it is less."""

import pytest

from multitudes.api import MAX_UNKNOWN
from multitudes.errors import StateError
from multitudes.service.admission import OverloadError
from multitudes.service.app import create_app
from tests.service.conftest import ask, refusal, with_settings


def test_what_goes_out_is_what_the_retriever_says(call, retriever):
    record = call("POST", "/v1/recommend", json={"user_id": "ann", "n": 5}).json()
    said = retriever.recommend("ann", n=5)
    assert [c["item_id"] for c in record["candidates"]] == [c.item_id for c in said.candidates]
    assert [c["source"] for c in record["candidates"]] == [c.source for c in said.candidates]
    assert [c["rank"] for c in record["candidates"]] == [1, 2, 3, 4, 5]
    assert [i["name"] for i in record["interests"]] == [i.name for i in said.interests]
    assert (record["release"], record["user_id"], record["degraded"]) == ("0001", "ann", False)
    assert record["timings_ms"]["state"] >= 0


def test_every_wish_reaches_the_engine(call, deps):
    wishes = {
        "n": 3,
        "rows": 2,
        "exclude": [105],
        "exclude_seen": False,
        "mute_topics": ["Crime"],
        "boost_topics": ["Drama"],
        "mute_interests": [0],
        "boost_interests": [1],
        "calibration": 0.5,
    }
    call("POST", "/v1/recommend", json={"history": [101], "followed_topics": ["Drama"], "request_id": "r-7", **wishes})
    asked = deps.engine.asked[0][0]
    assert {name: getattr(asked, name) for name in wishes} == wishes
    assert (asked.user_id, asked.history, asked.followed_topics, asked.request_id) == (None, [101], ["Drama"], "r-7")


def test_rows_go_out_with_their_titles_and_are_logged_as_one_answer(call, deps, retriever):
    record = call("POST", "/v1/recommend", json={"user_id": "bob", "n": 3, "rows": 5, "request_id": "r"}).json()
    said = retriever.recommend("bob", n=3, rows=5, request_id="r")
    assert [row["title"] for row in record["rows"]] == [row.title for row in said.rows]
    assert len(record["rows"]) == 3
    assert record["candidates"] == [one for row in record["rows"] for one in row["candidates"]]
    assert record["candidates"] == [one | {"found_by": list(one["found_by"])} for one in said.records()]
    (logged,) = deps.logs.answers
    assert logged.item_ids == [one.item_id for one in said.candidates]
    assert call("POST", "/v1/recommend", json={"user_id": "bob", "n": 3}).json()["rows"] == [], "the control"


def test_topics_and_items_that_the_release_does_not_know_are_named_up_to_a_bound(call):
    topics = {"mute_topics": ["Comedyy", "Drama"], "boost_topics": ["Opera", "Comedyy"]}
    assert call("POST", "/v1/recommend", json={"user_id": "ann", **topics}).json()["unknown_topics"] == [
        "Comedyy",
        "Opera",
    ]
    many = {"history": [101, *range(500, 600)], "followed_topics": [f"topic {n}" for n in range(100)]}
    record = call("POST", "/v1/recommend", json=many).json()
    assert record["unknown_items"] == [*range(500, 500 + MAX_UNKNOWN)]
    assert record["unknown_topics"] == [f"topic {n}" for n in range(MAX_UNKNOWN)]


def test_the_rows_of_a_batch_count_towards_its_candidates(call):
    batch = [{"user_id": "ann", "n": 1_000, "rows": 5}] * 6
    status, _, message = refusal(call("POST", "/v1/recommend/batch", json={"requests": batch}))
    assert (status, "30,000 candidates" in message) == (422, True)
    plain = [one | {"rows": None} for one in batch]
    assert call("POST", "/v1/recommend/batch", json={"requests": plain}).status_code == 200, "the control"


def test_the_name_of_a_request_is_that_of_its_body_or_a_new_one(call, deps):
    body = {"user_id": "ann", "n": 1}
    named = call("POST", "/v1/recommend", json=body | {"request_id": "r-1"}, headers={"x-request-id": "h-1"})
    made = [call("POST", "/v1/recommend", json=body, headers={"x-request-id": "h-1"}) for _ in range(2)]
    names = [r.json()["request_id"] for r in (named, *made)]
    assert names[0] == "r-1"
    assert len({*names, "h-1"}) == 4
    assert [r.headers["x-request-id"] for r in made] == names[1:]
    assert [ask.request_id for ask, *_ in deps.engine.asked] == ["r-1", "", ""], "unnamed ones draw equal topics"
    assert [answer.request_id for answer in deps.logs.answers] == names


def test_a_served_answer_is_in_the_log_with_the_topic_that_brought_each_item(call, deps):
    record = call("POST", "/v1/recommend", json={"user_id": "bob", "n": 10, "mute_interests": [0, 1]}).json()
    (logged,) = deps.logs.answers
    assert logged.item_ids == [c["item_id"] for c in record["candidates"]]
    assert (logged.user_id, logged.release, logged.degraded) == ("bob", "0001", False)
    conditions = [logged.origins[o].condition for o in logged.origin_N]
    expected = [c["interest_name"] if c["source"] == "explicit" else None for c in record["candidates"]]
    assert conditions == expected
    assert {"Drama"} <= set(conditions), "else the test is about nothing"


def test_a_full_disk_keeps_no_answer_from_a_person(call, deps):
    deps.logs.full = True
    assert call("POST", "/v1/recommend", json={"user_id": "ann"}).status_code == 200
    assert b"multitudes_unlogged_total 1.0" in deps.metrics.render()


def test_the_state_of_a_user_is_read_and_goes_to_the_engine(call, deps):
    call("POST", "/v1/events", json={"events": [{"event_id": "e", "user_id": "ann", "item_id": 105}]})
    call("POST", "/v1/recommend", json={"user_id": "ann"})
    call("POST", "/v1/recommend", json={"history": []})
    (known, *_), (described, *_) = deps.engine.asked
    assert [event.item_id for event in known.user_state.events] == [105]
    assert described.user_state is None


def test_without_the_state_the_engine_is_told_why(call, deps):
    deps.states.error = StateError("the store is away")
    call("POST", "/v1/recommend", json={"user_id": "ann"})
    call("POST", "/v1/recommend", json={"history": []})
    (known, *_), (described, *_) = deps.engine.asked
    assert (known.user_state, known.state_error) == (None, "the store is away")
    assert described.state_error == ""


def test_somebody_unknown_gets_popular_items_marked_and_counted(call, deps):
    record = call("POST", "/v1/recommend", json={"user_id": "zoe", "n": 3}).json()
    assert record["degraded"]
    assert "zoe" in record["reason"]
    assert {c["source"] for c in record["candidates"]} == {"popular"}
    assert deps.logs.answers[0].degraded
    assert b'multitudes_degraded_total{cause="unknown"} 1.0' in deps.metrics.render()


def test_a_state_that_hangs_leaves_time_for_an_answer_without_it(deps, monkeypatch):
    given, read = list[float](), deps.states.read

    async def noted(users, within_s):
        given.append(within_s)
        return await read(users, within_s)

    monkeypatch.setattr(deps.states, "read", noted)
    ask(create_app(deps), "POST", "/v1/recommend", json={"user_id": "ann"}, headers={"x-deadline-ms": "10000"})
    assert 0 < given[0] <= 5


def test_a_deadline_is_the_header_s_within_what_the_settings_allow(deps):
    app = create_app(with_settings(deps, deadlines={"default_ms": 10_000, "max_ms": 100_000, "batch_ms": 50_000}))
    one: dict[str, list[int]] = {"history": []}
    batch = {"requests": [one]}
    ask(app, "POST", "/v1/recommend", json=one)
    ask(app, "POST", "/v1/recommend", json=one, headers={"x-deadline-ms": "70000"})
    ask(app, "POST", "/v1/recommend", json=one, headers={"x-deadline-ms": "900000"})
    ask(app, "POST", "/v1/recommend/batch", json=batch)
    allowed = (10, 70, 100, 50)
    left = [deadline_s for _, deadline_s, _ in deps.engine.asked]
    assert all(0 <= given <= most for given, most in zip(left, allowed, strict=True))
    assert left[1] > left[0], "what the header gave"
    assert [priority for *_, priority in deps.engine.asked] == ["interactive"] * 3 + ["batch"]


@pytest.mark.parametrize("wrong", ["0", "-1", "12x", "soon", "1e3", "99999999999999999999"])
def test_a_deadline_that_is_none_is_refused(wrong, plain_call):
    status, code, message = refusal(
        plain_call("POST", "/v1/recommend", json={"history": []}, headers={"x-deadline-ms": wrong})
    )
    assert (status, code) == (422, "invalid")
    assert "x-deadline-ms" in message


def test_overload_is_told_with_when_to_come_again(call, deps):
    deps.engine.error = OverloadError("no time; come again later", 2.4)
    for path, body in (("", {"history": []}), ("/batch", {"requests": [{"history": []}] * 2})):
        response = call("POST", f"/v1/recommend{path}", json=body)
        assert refusal(response) == (429, "overloaded", "no time; come again later")
        assert response.headers["retry-after"] == "3", "not before there is time"
    assert b'multitudes_shed_total{reason="time",work="batch"} 2.0' in deps.metrics.render()


def test_a_batch_is_answered_in_order_and_reads_each_user_once(call, deps):
    names = ["bob", "ann", "bob"]
    record = call(
        "POST", "/v1/recommend/batch", json={"requests": [{"user_id": name, "n": 2} for name in names]}
    ).json()
    assert [answer["user_id"] for answer in record["answers"]] == names
    assert len({answer["request_id"] for answer in record["answers"]}) == 3
    assert [answer.user_id for answer in deps.logs.answers] == names
    assert deps.states.reads == [["bob", "ann"]]


def test_a_defect_is_written_into_the_journal_and_not_into_the_answer(call, deps, written):
    deps.engine.error = ZeroDivisionError("secret inside")
    response = call("POST", "/v1/recommend", json={"history": []})
    status, code, message = refusal(response)
    assert (status, code) == (500, "defect")
    assert "secret" not in message
    assert "ZeroDivisionError" in written.getvalue()
    assert response.headers["x-request-id"] in written.getvalue()
