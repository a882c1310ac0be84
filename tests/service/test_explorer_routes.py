"""The explorer over HTTP: its page, its setting, its keys; what it shows is neither stored nor logged."""

import asyncio
from dataclasses import replace
from pathlib import Path
from threading import Event

import httpx
import pytest
from fastapi import Request

from multitudes import api
from multitudes.errors import StateError
from multitudes.explorer.explorer import Explorer
from multitudes.retrieval.release_trial import ReleaseTrial
from multitudes.retrieval.retriever import Retriever
from multitudes.service.api_keys import ApiKeys, make_key
from multitudes.service.app import create_app
from multitudes.service.explorer_routes import ExplorerThread
from multitudes.state.protocol import Event as StoredEvent
from tests.release.small_release import publish_small
from tests.service.conftest import ask, refusal, with_settings


def test_the_page_has_the_policy_of_its_text_and_no_other(call):
    page = call("GET", "/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    (policy,) = page.headers.get_list("content-security-policy")
    assert "script-src 'sha256-" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert "default-src 'none'; frame-ancestors 'none'" in call("GET", "/readyz").headers["content-security-policy"]


def test_what_the_page_asks_is_answered_and_leaves_nothing(call, deps):
    shown = call("GET", "/v1/explore/map").json()
    assert len(shown["map"]) == 20
    assert call("GET", "/v1/explore/users?n=3").json()["user_ids"] == ["ann", "bob", "eve"]
    assert call("GET", "/v1/explore/items?text=film 105").json()["items"][0]["item_id"] == 105
    answer = call("POST", "/v1/explore", json={"user_id": "ann", "added": [105], "n": 3}).json()
    assert answer["history"][0]["item"]["title"] == "Film 105"
    assert answer["history"][0]["added"]
    assert deps.logs.answers == deps.logs.events == []
    assert not deps.states.events


def test_a_user_who_is_gone_is_said_in_one_line(call, deps):
    deps.states.forgotten.add((str, "ann"))
    for user in ("zoe", "ann"):
        status, code, message = refusal(call("POST", "/v1/explore", json={"user_id": user}))
        assert (status, code) == (404, "not_found")
        assert message == f"user '{user}' is not in release 0001; draw another, or build a history"
    assert "ann" not in call("GET", "/v1/explore/users?n=100").json()["user_ids"]


def test_what_a_user_did_since_the_release_is_shown(call):
    call("POST", "/v1/events", json={"events": [{"user_id": "bob", "item_id": 105, "event_id": "e"}]})
    answer = call("POST", "/v1/explore", json={"user_id": "bob"}).json()
    assert [event["item"]["item_id"] for event in answer["history"]] == [105, 111]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user_id": 7},
        {"user_id": "ann", "history": [101]},
        {"user_id": "ann", "added": ["x"]},
        {"user_id": "ann", "n": 101},
        {"user_id": "ann", "calibration": 1.1},
        {"user_id": "ann", "calibration": -0.1},
        {"user_id": "ann", "interest_shares": [{"number": 1, "share": 2}]},
        {"user_id": "ann", "interest_shares": [{"number": -1, "share": 1}]},
    ],
)
def test_a_wrong_request_is_refused(body, plain_call):
    assert refusal(plain_call("POST", "/v1/explore", json=body))[:2] == (422, "invalid")


def test_a_store_that_does_not_answer_is_said_and_who_is_erased_stays_so(call, deps):
    deps.states.error = StateError("the store is away")
    answer = call("POST", "/v1/explore", json={"user_id": "ann"}).json()
    assert answer["reason"] == "the store is away: the history as it was published"
    deps.states.forgotten.add((str, "ann"))
    assert refusal(call("POST", "/v1/explore", json={"user_id": "ann"}))[0] == 404


def test_without_the_setting_or_under_another_name_of_this_machine_there_is_no_explorer(deps):
    app = create_app(with_settings(deps, explorer={"enabled": False}))
    for path in ("/", "/v1/explore/map"):
        assert refusal(ask(app, "GET", path))[:2] == (404, "not_found")
    assert refusal(ask(create_app(deps), "GET", "/", base="http://evil.example"))[0] == 421


def test_behind_keys_the_page_is_open_and_all_that_it_asks_needs_a_key_that_reads(deps, tmp_path):
    key = make_key(tmp_path / "keys", "reader", ("read",))
    guarded = replace(deps, keys=ApiKeys(tmp_path / "keys"))
    app, headers = create_app(guarded), {"authorization": f"Bearer {key}"}
    assert ask(app, "GET", "/").status_code == 200
    for method, path, body in (("GET", "/v1/explore/map", None), ("POST", "/v1/explore", {"user_id": "ann"})):
        assert refusal(ask(app, method, path, json=body))[:2] == (401, "no_key")
        assert ask(app, method, path, json=body, headers=headers).status_code == 200
    off = create_app(with_settings(guarded, explorer={"enabled": False}))
    assert refusal(ask(off, "GET", "/"))[:2] == (401, "no_key")


def test_the_map_is_made_once_for_a_release(deps, monkeypatch):
    made, make_map = [], Explorer.map

    def count_and_make(explorer: Explorer) -> api.ExploreMapResponse:
        made.append(1)
        return make_map(explorer)

    monkeypatch.setattr(Explorer, "map", count_and_make)
    app = create_app(deps)
    assert ask(app, "GET", "/v1/explore/map").content == ask(app, "GET", "/v1/explore/map").content
    assert len(made) == 1


def test_a_client_has_its_share_of_the_explorer_and_another_one_still_gets_in(deps, tmp_path):
    keys = {name: make_key(tmp_path / "keys", name, ("read",)) for name in ("greedy", "other")}
    go_on, retriever = Event(), deps.get_retriever()
    slow = replace(deps, keys=ApiKeys(tmp_path / "keys"), get_retriever=lambda: go_on.wait(20) and retriever)

    async def flood() -> list[int]:
        transport = httpx.ASGITransport(create_app(slow))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:

            def start(name: str) -> asyncio.Task[httpx.Response]:
                headers = {"authorization": f"Bearer {keys[name]}"}
                return asyncio.create_task(client.get("/v1/explore/users", headers=headers))

            tasks = [start("greedy") for _ in range(20)] + [start("other")]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            go_on.set()
            return [answer.status_code for answer in await asyncio.gather(*tasks)]

    assert asyncio.run(flood()) == [200] * 8 + [429] * 12 + [200]


def test_another_version_answers_the_same_user_and_what_cannot_be_shown_is_said(tmp_path, deps, monkeypatch):
    tried = []
    monkeypatch.setattr(ReleaseTrial, "run", lambda _, folder: tried.append(folder.name))
    publish_small(tmp_path)
    publish_small(tmp_path)
    retriever = Retriever.open(tmp_path)
    two = replace(deps, get_retriever=lambda: retriever)
    app = create_app(two)
    listed = ask(app, "GET", "/v1/explore/releases").json()
    assert listed == {"serving": "0002", "others": ["0001"], "beside": None}
    deps.states.events[str, "bob"] = {"e": StoredEvent("e", "bob", 105, 5)}
    answer = ask(app, "POST", "/v1/explore", json={"user_id": "bob", "release": "0001"}).json()
    assert answer["release"] == "0001"
    assert tried == ["0001"]
    assert 105 in [event["item"]["item_id"] for event in answer["history"]], "what they did since counts there too"
    zoe = refusal(ask(app, "POST", "/v1/explore", json={"user_id": "zoe", "release": "0001"}))
    assert zoe[2] == "user 'zoe' is not in release 0001; draw another, or build a history"
    gone = refusal(ask(app, "POST", "/v1/explore", json={"user_id": "bob", "release": "0007"}))
    assert gone == (404, "not_found", "no release '0007' to show beside the one that serves; there are: 0001")
    (tmp_path / "versions" / "0001" / "users.arrow").write_bytes(b"")
    status, _, message = refusal(
        ask(create_app(two), "POST", "/v1/explore", json={"user_id": "bob", "release": "0001"})
    )
    assert status == 503
    assert message.startswith("0001/users.arrow: ")
    off = create_app(with_settings(two, explorer={"compare": False}))
    assert ask(off, "GET", "/v1/explore/releases").json()["others"] == []
    assert refusal(ask(off, "POST", "/v1/explore", json={"user_id": "bob", "release": "0001"}))[0] == 404


def test_a_release_that_is_being_opened_holds_up_nothing_else_and_a_client_waits_for_two(tmp_path, deps, monkeypatch):
    for _ in range(5):
        publish_small(tmp_path)
    retriever, begun, going = Retriever.open(tmp_path), Event(), Event()

    def wait(trial: ReleaseTrial, folder: Path) -> None:
        if folder.name != "0004":
            begun.set()
            assert going.wait(60)

    monkeypatch.setattr(ReleaseTrial, "run", wait)
    app = create_app(replace(deps, get_retriever=lambda: retriever))

    async def attack() -> list[int]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client:

            async def explore(release: str | None = None) -> int:
                return (await client.post("/v1/explore", json={"user_id": "ann", "release": release})).status_code

            opened = [await explore("0004")]
            waiting = [asyncio.create_task(explore(name)) for name in ("0001", "0002")]
            await asyncio.to_thread(begun.wait, 60)
            await asyncio.sleep(0)
            others = [await explore(), await explore("0004"), await explore("0003")]
            going.set()
            return opened + others + await asyncio.gather(*waiting)

    assert asyncio.run(attack()) == [200, 200, 200, 429, 200, 200]


def request_of(address: str) -> Request:
    return Request({"type": "http", "client": (address, 1)})


def test_the_explorer_rests_three_times_as_long_as_it_worked(deps):
    now_s, rested = 100.0, []

    def work(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    def sleep(seconds: float) -> None:
        rested.append(round(seconds, 6))
        work(seconds)

    thread = ExplorerThread(deps.metrics, 1, lambda: now_s, sleep)
    for seconds in (0.5, 0.1, 60.0):
        asyncio.run(thread.run(request_of("a"), lambda seconds=seconds: work(seconds)))  # type: ignore[misc]
    assert rested == [1.5, 0.3]
    now_s += 4.0
    asyncio.run(thread.run(request_of("a"), lambda: None))
    assert rested == [1.5, 0.3, 1.0], "5 s at most: laying out a map takes long, once"
    now_s += 1.0
    asyncio.run(thread.run(request_of("a"), lambda: None))
    assert len(rested) == 3, "who comes later does not wait"
