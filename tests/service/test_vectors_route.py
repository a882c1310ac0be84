"""The vectors of a user over HTTP, and the list of what a store found for them."""

import pytest

from multitudes.records import to_record
from multitudes.retrieval.request import Request
from tests.service.conftest import refusal


def test_vectors_go_out_and_what_was_found_comes_back(call, deps, retriever):
    body = {"user_id": "bob", "n": 4, "mute_topics": ["Drama"], "request_id": "r-7"}
    record = call("POST", "/v1/vectors", json=body).json()
    (said,) = retriever.vectors([Request("bob", n=4, mute_topics=["Drama"], request_id="r-7")])
    assert record == to_record(said)
    assert deps.logs.answers == [], "nothing was served yet"
    found = [{"interest": one["interest"], "item_ids": [*range(101, 121)]} for one in record["vectors"]]
    served = call("POST", "/v1/recommend", json=body | {"found": found}).json()
    plain = call("POST", "/v1/recommend", json=body).json()
    assert served["candidates"] == plain["candidates"]
    assert len(deps.logs.answers) == 2


def test_the_state_of_a_user_is_in_the_vectors(call, deps):
    before = call("POST", "/v1/vectors", json={"user_id": "ann"}).json()
    call("POST", "/v1/events", json={"events": [{"event_id": "e", "user_id": "ann", "item_id": 105}]})
    after = call("POST", "/v1/vectors", json={"user_id": "ann"}).json()
    assert set(after["exclude"]) - set(before["exclude"]) == {105}
    assert before["vectors"] != after["vectors"]
    assert [one.vectors_only for one, *_ in deps.engine.asked] == [True, True]


@pytest.mark.parametrize(
    ("path", "body", "wrong"),
    [
        ("/v1/vectors", {"rows": 2}, "rows = 2: rows search the release's own index"),
        ("/v1/recommend", {"rows": 2, "found": []}, "rows = 2: rows search the release's own index"),
        ("/v1/recommend", {"found": [{"interest": 0, "item_ids": [7]}]}, "found: item 7 is not in release 0001"),
        ("/v1/recommend", {"found": [{"interest": 0, "item_ids": ["7"]}]}, "item_id '7': the ids of this data are"),
        (
            "/v1/recommend",
            {"found": [{"interest": 9, "item_ids": []}]},
            "found: interest 9; expected that of a vector, 0 to 3",
        ),
        ("/v1/recommend", {"found": {"0": [102]}}, "body.found = "),
    ],
)
def test_what_cannot_be_answered_is_rejected_in_one_line(call, path, body, wrong):
    status, _, message = refusal(call("POST", path, json={"user_id": "ann", **body}))
    assert (status, wrong in message) == (422, True), message
