"""What a body must not hold, and what is said about it: one line, in one shape, and never a failure of the service."""

import json

import pytest
from pydantic import ValidationError

from multitudes import api
from multitudes.records import field_types
from multitudes.service.schemas import request_model
from tests.service.conftest import refusal

JSON = {"content-type": "application/json"}
ASK = {"user_id": "ann", "n": 1}
EVENT = {"event_id": "e", "user_id": "ann", "item_id": 101}

MALFORMED = {
    "nothing closed": b'{"user_id": ',
    "deep": b'{"history": ' + b"[" * 100_000,
    "deep and closed": b'{"history": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "no UTF-8": b'{"user_id": "\xff\xfe"}',
    "an integer of 10,000 digits": b'{"user_id": ' + b"9" * 10_000 + b"}",
}
INVALID = {
    "nobody": ({}, "user_id, or history and followed_topics"),
    "two people": ({"user_id": "ann", "history": [101]}, "user_id, or history and followed_topics"),
    "an unknown field": (ASK | {"usr": 1}, "body.usr: no such field"),
    "n too large": (ASK | {"n": api.MAX_N + 1}, "body.n = 1001"),
    "n of none": (ASK | {"n": 0}, "body.n = 0"),
    "n as a text": (ASK | {"n": "1"}, "body.n = '1'"),
    "n as a fraction": (ASK | {"n": 1.0}, "body.n = 1.0"),
    "n as a truth": (ASK | {"n": True}, "body.n = True"),
    "no rows": (ASK | {"rows": 0}, "body.rows = 0"),
    "too many rows": (ASK | {"rows": 21}, "body.rows = 21"),
    "rows as a text": (ASK | {"rows": "2"}, "body.rows = '2'"),
    "rows of too many": (ASK | {"rows": 20, "n": 1_000}, "rows"),
    "a calibration below 0": (ASK | {"calibration": -0.1}, "body.calibration = -0.1"),
    "a calibration above 1": (ASK | {"calibration": 1.1}, "body.calibration = 1.1"),
    "an id of the other kind": (ASK | {"user_id": 7}, "user_id 7: the ids of this data are texts"),
    "an item of the other kind": (ASK | {"exclude": ["101"]}, "item_id '101': the ids of this data are integers"),
    "an id that is a truth": (ASK | {"exclude": [True]}, "body.exclude.0 = True"),
    "an id beyond int64": (ASK | {"exclude": [2**63]}, "body.exclude.0 = 9223372036854775808"),
    "an id as a fraction": (ASK | {"exclude": [101.0]}, "body.exclude.0 = 101.0"),
    "an empty id": (ASK | {"user_id": ""}, "body.user_id = ''"),
    "a long id": (ASK | {"user_id": "x" * 513}, "neither empty nor too long"),
    "a list for an id": (ASK | {"user_id": [1]}, "body.user_id = [1]"),
    "no list": (ASK | {"exclude": {"0": 101}}, "body.exclude"),
    "a long list": (ASK | {"mute_topics": ["t"] * 101}, "at most 100 items"),
    "a negative interest": (ASK | {"mute_interests": [-1]}, "body.mute_interests.0 = -1"),
    "a nested context": (ASK | {"context": {"page": {"deep": 1}}}, "body.context.page"),
    "an unfit context": (ASK | {"context": {"page": "x" * 257}}, "a text of up to 256 characters, an int64, a finite"),
    "a list in place of the object": ([ASK], "body"),
    "null": (None, "body"),
}
NOT_FINITE = {
    "NaN": b'{"history": [], "context": {"x": NaN}}',
    "infinity": b'{"history": [], "context": {"x": -Infinity}}',
    "beyond a float": b'{"history": [], "context": {"x": 1e400}}',
    "an n of 1e39": b'{"history": [], "n": 1e39}',
    "an id of 1e39": b'{"user_id": 1e39}',
    "half a surrogate": b'{"user_id": "\\ud800"}',
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_json_is_malformed(body, plain_call):
    status, code, message = refusal(plain_call("POST", "/v1/recommend", content=body, headers=JSON))
    assert (status, code) == (400, "malformed")
    assert "JSON" in message


@pytest.mark.parametrize(("body", "told"), INVALID.values(), ids=INVALID)
def test_what_is_not_foreseen_is_invalid(body, told, plain_call):
    status, code, message = refusal(plain_call("POST", "/v1/recommend", json=body))
    assert (status, code) == (422, "invalid")
    assert told in message


@pytest.mark.parametrize("body", NOT_FINITE.values(), ids=NOT_FINITE)
def test_what_is_no_number_and_no_text_is_invalid(body, plain_call):
    assert refusal(plain_call("POST", "/v1/recommend", content=body, headers=JSON))[:2] == (422, "invalid")


def test_the_same_body_without_its_fault_is_answered(plain_call):
    """Control of all of the above."""
    context = {"page": "home", "x": 1e39, "new": True, "none": None}
    assert plain_call("POST", "/v1/recommend", json=ASK | {"context": context, "exclude": [101]}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"requests": [{"history": [[]] * 50, "followed_topics": [1] * 50, "exclude": [{}] * 50}] * 50},
        {"requests": [{"user_id": "ann", "mute_topics": [1] * 50}] * 50},
        {"requests": [{"user_id": "ann", "boost_topics": [1] * 50}] * 50},
        {"requests": [{"user_id": "ann", "mute_interests": ["1"] * 50, "boost_interests": [-1] * 50}] * 50},
        {"events": [{}] * 50},
        {"followed_topics": [1] * 50},
    ],
    ids=["described", "muted", "boosted", "interests", "events", "follows"],
)
def test_of_a_list_of_faults_only_the_first_is_found(body):
    """The event loop has better to do: a body of a megabyte holds hundreds of thousands."""
    models = {"requests": api.RecommendBatchRequest, "events": api.EventsRequest, "followed_topics": api.FollowRequest}
    with pytest.raises(ValidationError) as refused:
        request_model(models[next(iter(body))]).model_validate(body)
    assert refused.value.error_count() <= len(field_types(api.RecommendRequest))


def test_a_million_ids_are_refused(plain_call, deps):
    body = json.dumps({"history": [], "exclude": list(range(10**6))}).encode()
    assert refusal(plain_call("POST", "/v1/recommend", content=body, headers=JSON))[:2] == (413, "too_large")
    fewer = {"history": [], "exclude": [1] * (api.MAX_EXCLUDED + 1)}
    assert "at most 10000 items" in refusal(plain_call("POST", "/v1/recommend", json=fewer))[2]
    most = {"history": [], "exclude": [1] * api.MAX_EXCLUDED}
    assert plain_call("POST", "/v1/recommend", json=most).status_code == 200


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"event_id": ""}, "event_id"),
        ({"event_id": 1}, "event_id"),
        ({"time_s": -1}, "time_s"),
        ({"time_s": 1.5}, "time_s"),
        ({"time_s": "now"}, "time_s"),
        ({"item_id": None}, "item_id"),
        ({"item_id": "101"}, "the ids of this data are integers"),
        ({"weight": 1}, "weight: no such field"),
    ],
)
def test_an_event_that_is_none_is_refused_and_nothing_is_kept(change, told, call, deps):
    response = call("POST", "/v1/events", json={"events": [EVENT, EVENT | change]})
    assert told in refusal(response)[2]
    assert response.status_code == 422
    assert (deps.logs.events, deps.states.events) == ([], {})


def test_a_body_that_is_not_said_to_be_json_is_refused(plain_call):
    """A page of somebody else can send a form or a text to any address without being asked, but no JSON."""
    body = json.dumps(ASK).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
        response = plain_call("POST", "/v1/recommend", content=body, headers={"content-type": kind})
        assert refusal(response)[:2] == (415, "no_json")
    charset = {"content-type": "application/json; charset=utf-8"}
    assert plain_call("POST", "/v1/recommend", content=body, headers=charset).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/none", (404, "not_found")),
        ("GET", "/v1/recommend/", (404, "not_found")),
        ("GET", "/v1/users/", (422, "invalid")),
        ("GET", "/docs", (404, "not_found")),
        ("GET", "/../../etc/passwd", (404, "not_found")),
        ("GET", "/v1/recommend", (405, "wrong_method")),
        ("PATCH", "/v1/users/ann", (405, "wrong_method")),
        ("DELETE", "/v1/events", (405, "wrong_method")),
        ("NONSENSE", "/v1/events", (405, "wrong_method")),
    ],
)
def test_an_address_or_a_method_that_is_not_there(method, path, expected, plain_call):
    assert refusal(plain_call(method, path))[:2] == expected


def test_what_clients_make_up_never_becomes_a_name_of_a_measure(call, deps):
    for n in range(20):
        call("GET", f"/made-up-{n}")
        call(f"MADEUP{n}", "/v1/events")
        call("GET", f"/v1/users/user-{n}")
    page = deps.metrics.render().decode()
    assert "made-up" not in page
    assert "MADEUP" not in page
    assert "user-" not in page
    assert 'multitudes_requests_total{method="GET",route="/v1/users/{id:path}",status="200"} 20.0' in page
