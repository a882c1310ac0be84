"""Neighbours of items, releases, health and measures."""

import asyncio
from dataclasses import replace
from threading import Event
from time import sleep

import httpx
import pytest

from multitudes.errors import StateError
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.retriever import Retriever
from multitudes.service.app import create_app
from multitudes.state.erasure_requests import DamagedRequestsError
from tests.release.small_release import publish_small
from tests.service.conftest import ask, refusal, with_settings


def test_the_neighbours_of_an_item_are_the_nearest_of_its_axis_without_itself(call):
    record = call("GET", "/v1/items/103/similar?n=3").json()
    assert [c["item_id"] for c in record["candidates"]] == [101, 102, 104]
    assert [c["rank"] for c in record["candidates"]] == [1, 2, 3]
    assert [c["title"] for c in record["candidates"]] == ["Film 101", "Film 102", "Film 104"]
    assert (record["item_id"], record["release"]) == (103, "0001")
    other = call("GET", "/v1/items/113/similar?n=3").json()
    assert [c["item_id"] for c in other["candidates"]] == [111, 112, 114]
    status, code, message = refusal(call("GET", "/v1/items/999/similar"))
    assert (status, code) == (404, "not_found")
    assert "999" in message
    assert refusal(call("GET", "/v1/items/ann/similar"))[0] == 422


@pytest.mark.parametrize("n", ["0", "1001", "many", "1.5", ""])
def test_a_wrong_number_of_neighbours(n, plain_call):
    assert refusal(plain_call("GET", f"/v1/items/103/similar?n={n}"))[0] == 422


def test_no_time_for_a_search_is_told_in_time(deps, monkeypatch):
    monkeypatch.setattr("multitudes.service.recommend_routes.find_similar_items", lambda *_: sleep(0.2))
    app = create_app(with_settings(deps, deadlines={"default_ms": 20_000}))
    late = ask(app, "GET", "/v1/items/103/similar", headers={"x-deadline-ms": "20"})
    assert refusal(late)[:2] == (429, "overloaded")
    assert int(late.headers["retry-after"]) >= 1
    assert ask(app, "GET", "/v1/items/103/similar").status_code == 404, "the control: who waits is told what was found"


def test_two_items_are_searched_for_at_once_also_where_nobody_waits_any_more(deps, monkeypatch):
    begun, going = list[int](), Event()

    def hanging(_release: object, item_id: int, _n: int) -> None:
        begun.append(item_id)
        going.wait(20)

    monkeypatch.setattr("multitudes.service.recommend_routes.find_similar_items", hanging)
    transport = httpx.ASGITransport(create_app(deps))

    async def impatient() -> list[int]:
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            calls = [await client.get("/v1/items/103/similar", headers={"x-deadline-ms": "50"}) for _ in range(6)]
            going.set()
            return [call.status_code for call in calls]

    assert asyncio.run(impatient()) == [429] * 6
    assert len(begun) <= 2


@pytest.mark.parametrize("given", [b"ann", b"a b", b"x" * 129, b"r-\xe9", b""])
def test_the_name_that_a_client_gives_to_a_request_is_not_taken(given, plain_call):
    named = plain_call("GET", "/healthz", headers={b"x-request-id": given}).headers["x-request-id"]
    assert len(named) == 32
    assert named.isalnum()


def test_releases_are_listed_and_the_one_that_answers_is_marked(deps, tmp_path):
    for _ in range(2):
        publish_small(tmp_path)
    retriever = Retriever.open(tmp_path)
    (ReleaseStore(tmp_path).folder("0001") / "manifest.json").write_text("{")
    record = ask(create_app(replace(deps, get_retriever=lambda: retriever)), "GET", "/v1/releases").json()
    assert (record["serving"], record["current"]) == ("0002", "0002")
    damaged, good = record["versions"]
    assert (damaged["version"], damaged["serves"]) == ("0001", False)
    assert "damaged" in damaged["problem"]
    assert str(tmp_path) not in damaged["problem"]
    assert (good["serves"], good["counts"]["items"], good["problem"]) == (True, 20, None)


def test_health_needs_nothing_and_readiness_tells_what_is_away_or_damaged(call, deps):
    assert call("GET", "/healthz").json() == {"status": "ok", "checks": {}}
    healthy = {"release": "0001", "items": 20, "state": "ok", "logs": "ok"}
    assert call("GET", "/readyz").json() == {"status": "ok", "checks": healthy}
    deps.states.error = StateError("the store is away")
    ready = call("GET", "/readyz")
    assert (ready.status_code, ready.json()["status"], ready.json()["checks"]["state"]) == (
        200,
        "degraded",
        "the store is away",
    )
    assert call("GET", "/healthz").status_code == 200
    deps.logs.damaged = 2
    ready = call("GET", "/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert "2 damaged segments" in ready.json()["checks"]["logs"]
    deps.states.error = DamagedRequestsError("the file is damaged")
    assert refusal(call("GET", "/readyz")) == (503, "unavailable", "the file is damaged")
    assert call("GET", "/healthz").status_code == 200
