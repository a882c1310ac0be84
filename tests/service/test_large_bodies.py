"""Large bodies and answers hold up nobody: they are parsed in a thread, written in pieces, and bounded."""

import asyncio
import json
from threading import current_thread, main_thread
from typing import Any

import httpx
import pytest

from multitudes import api
from multitudes.service.app import create_app
from tests.service.conftest import refusal

SMALL = {"history": [101], "n": 2}
LARGE = {"history": [101] * 9_000, "n": 2}
JSON = {"content-type": "application/json"}


@pytest.fixture
def checked_in(monkeypatch) -> list[str]:
    """The threads in which requests were checked."""
    threads, check = list[str](), api.RecommendRequest.check

    def noting(request: api.RecommendRequest) -> None:
        threads.append(current_thread().name)
        check(request)

    monkeypatch.setattr(api.RecommendRequest, "check", noting)
    return threads


@pytest.mark.parametrize(("path", "wrap"), [("", lambda one: one), ("/batch", lambda one: {"requests": [one, one]})])
def test_a_large_body_is_parsed_in_a_thread(path, wrap, call, checked_in):
    assert call("POST", f"/v1/recommend{path}", json=wrap(SMALL)).status_code == 200
    assert set(checked_in) == {main_thread().name}, "the control"
    checked_in.clear()
    assert call("POST", f"/v1/recommend{path}", json=wrap(LARGE)).status_code == 200
    assert main_thread().name not in checked_in[: len(checked_in) // 2]


def test_a_large_body_is_answered_rejected_or_stored_as_a_small_one(call, deps):
    answers = [call("POST", "/v1/recommend", json={**SMALL, "exclude": [999] * size}).json() for size in (1, 9_000)]
    assert answers[0]["candidates"] == answers[1]["candidates"]
    cases: list[tuple[Any, str]] = [
        ({"n": 0}, "body.n = 0: input should be greater than or equal to 1"),
        ({"nn": 1}, "body.nn: no such field"),
        ({"user_id": 1}, "expected either user_id, or history"),
        ({"exclude": [[]]}, "body.exclude.0"),
    ]
    for wrong, message in cases:
        for one in (SMALL, LARGE):
            status, code, text = refusal(call("POST", "/v1/recommend", json={**one, **wrong}))
            assert (status, code) == (422, "invalid")
            assert message in text
    body = json.dumps(LARGE).encode()[:-1]
    status, code, text = refusal(call("POST", "/v1/recommend", content=body, headers=JSON))
    assert (status, code) == (400, "malformed")
    assert text.startswith("the body is not JSON: ")
    events = [{"user_id": "ann", "item_id": 101, "event_id": f"e-{n}", "time_s": 1_750_000_000} for n in range(1_000)]
    assert call("POST", "/v1/events", json={"events": events}).json()["new"] == 1_000
    assert len(deps.logs.events) == 1_000


def test_a_batch_is_bounded_by_its_candidates(call):
    most = {"requests": [{**SMALL, "n": 1_000}] * 25 + [{**SMALL, "n": 600}]}
    assert call("POST", "/v1/recommend/batch", json=most).status_code == 200
    more = {"requests": [*most["requests"], {**SMALL, "n": 1}]}
    status, code, text = refusal(call("POST", "/v1/recommend/batch", json=more))
    assert (status, code) == (422, "invalid")
    assert "n adds up to 25,601 candidates; expected at most 25,600: send several batches" in text


def test_others_have_their_turn_between_two_users_of_a_batch(deps):
    turn, turns = 0, list[int]()

    def log_served(_: object) -> bool:
        turns.append(turn)
        return True

    deps.logs.log_served = log_served

    async def count_turns() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async def once() -> httpx.Response:
        counting = asyncio.create_task(count_turns())
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(deps)), base_url="http://127.0.0.1"
        ) as client:
            response = await client.post("/v1/recommend/batch", json={"requests": [SMALL] * 5})
        counting.cancel()
        return response

    assert asyncio.run(once()).status_code == 200
    assert len(set(turns)) == 5
