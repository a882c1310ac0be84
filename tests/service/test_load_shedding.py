"""Who is turned away before anything is read: by hand, in an overload that is played through, and at the service."""

import asyncio
from collections import deque
from dataclasses import replace
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

import httpx
import pytest
from starlette.types import Message

from multitudes.seeding import generator
from multitudes.service.admission import AdmissionConfig, OverloadError
from multitudes.service.app import create_app
from multitudes.service.in_flight import PLACES, InFlightRequests
from multitudes.service.load_shedding import LoadShedder
from multitudes.service.settings import ServeConfig
from multitudes.service.startup import Dependencies
from tests.service.conftest import ask, refusal

CONFIG = AdmissionConfig(load_shedding_share=0.5, batch_share=0.5)
ONE: dict[str, list[int]] = {"history": []}


def crowd(inside: int, each_s: float = 0.01, places: int = 2) -> InFlightRequests:
    """Return a crowd of which one came out every ``each_s``."""
    made = InFlightRequests(CONFIG, places)
    for _ in range(inside + 1):
        made.enter(0.0)
    made.leave(each_s, "interactive")
    return made


def test_a_request_comes_in_while_all_inside_come_out_in_its_time_batches_give_way_and_some_have_always_place():
    assert crowd(9).excess_s("interactive", 0.2) == pytest.approx(0.0)
    assert crowd(10).excess_s("interactive", 0.2) == pytest.approx(0.01)
    assert crowd(10).excess_s("interactive", 0.3) < 0, "who has more time"
    assert crowd(10, each_s=0.005).excess_s("interactive", 0.2) < 0, "when they are faster"
    assert crowd(4).excess_s("batch", 0.2) <= 1e-9
    assert crowd(5).excess_s("batch", 0.2) > 0
    assert crowd(5).excess_s("interactive", 0.2) < 0, "the control"
    assert crowd(2, each_s=60.0, places=3).excess_s("interactive", 0.2) <= 0
    assert crowd(3, each_s=60.0, places=3).excess_s("interactive", 0.2) > 0, "the control"


def test_heads_that_are_read_before_a_task_begins_share_the_places(deps: Dependencies):
    shedder = LoadShedder(replace(deps, in_flight=crowd(8)), None)
    head: dict[str, Any] = {"type": "http", "method": "POST", "path": "/v1/recommend", "client": ("", 1)}
    head["headers"] = [(b"host", b"127.0.0.1"), (b"x-deadline-ms", b"210")]
    scopes = [head | {"state": {}} for _ in range(4)]
    assert [shedder.reject_early(scope) is None for scope in scopes] == [True, True, False, False]
    assert shedder.reject(scopes[0]) is shedder.reject(scopes[1]) is None, "their tasks begin"
    assert shedder.reject_early(head | {"state": {}}) is None, "they are withdrawn"


def test_time_in_which_nobody_was_inside_and_batches_say_nothing_of_how_fast_they_come_out():
    made = InFlightRequests(CONFIG, 0)
    for now_s in (0.0, 100.0, 200.0):
        made.enter(now_s)
        made.leave(now_s + 0.01, "interactive")
    made.enter(300.0, "batch")
    made.leave(310.0, "batch")
    made.enter(310.0)
    assert made.excess_s("interactive", 0.0) == pytest.approx(2 * 0.01)


def played(times_capacity: float, shut: bool) -> tuple[list[float], int]:
    """Play ten seconds of requests at random moments to one worker; return the seconds of each, and how many left."""
    cost_s, made, free_s = 0.002, InFlightRequests(AdmissionConfig(), 32), 0.0
    coming_out, took, refused = deque[float](), list[float](), 0
    for now_s in generator(0, "crowd").exponential(cost_s / times_capacity, int(5_000 * times_capacity)).cumsum():
        while coming_out and coming_out[0] <= now_s:
            made.leave(coming_out.popleft(), "interactive")
        if shut and made.excess_s("interactive", 0.5) > 0:
            refused += 1
            continue
        made.enter(now_s)
        free_s = max(free_s, now_s) + cost_s
        coming_out.append(free_s)
        took.append(free_s - now_s)
    return took, refused


@pytest.mark.parametrize("times", [2, 5])
def test_an_overload_keeps_the_worker_busy_and_nobody_waits_longer_than_the_door_says(times):
    took, refused = played(times, shut=True)
    assert max(took) <= 0.5 * AdmissionConfig().load_shedding_share * 1.05
    assert len(took) >= 0.98 * 5_000, "all that could be answered"
    assert refused > 0
    assert max(played(times, shut=False)[0]) > 3, "the control"


def test_below_capacity_hardly_anybody_is_turned_away():
    took, refused = played(0.8, shut=True)
    assert refused == 0
    assert len(took) == 4_000


class Sender(NamedTuple):
    """A client that sends from so many connections; each waits for its answer, or a moment after a rejection."""

    name: str
    connections: int
    pause_s: float  # after an answer


def shared(*senders: Sender, alike: bool = False) -> dict[str, list[float]]:
    """Play one worker; return how many of each were answered and rejected in five seconds, and the longest time.

    ``alike``: the service does not tell clients apart.
    """
    cost_s, now_s, made, free_s = 0.002, 0.0, InFlightRequests(AdmissionConfig(), 32), 0.0
    counts = dict[str, list[float]]()
    moments = [(n * 1e-5, n, sender, -1.0) for sender in senders for n in range(sender.connections)]
    heapify(moments)
    while now_s < 7:
        if now_s < 2:  # before the service knows how fast it is
            counts = {sender.name: [0, 0, 0.0] for sender in senders}
        now_s, n, sender, arrived_s = heappop(moments)
        name, count = "" if alike else sender.name, counts[sender.name]
        if arrived_s >= 0:
            made.leave(now_s, "interactive", name)
            count[0], count[2] = count[0] + 1, max(count[2], now_s - arrived_s)
            heappush(moments, (now_s + sender.pause_s, n, sender, -1.0))
        elif made.excess_s("interactive", 0.5, name, now_s) > 0:
            count[1] += 1
            heappush(moments, (now_s + 0.01, n, sender, -1.0))
        else:
            made.enter(now_s, "interactive", name)
            free_s = max(free_s, now_s) + cost_s
            heappush(moments, (free_s, n, sender, now_s))
    return counts


GREEDY, MODEST = Sender("greedy", 256, 0.0), Sender("modest", 1, 0.02)


def test_clients_get_their_share_whatever_another_sends_and_however_many_connections_they_have():
    counts = shared(GREEDY, MODEST)
    assert counts["modest"][1] == 0
    assert counts["modest"][2] <= 0.5 * AdmissionConfig().headroom
    assert sum(answered for answered, *_ in counts.values()) >= 0.98 * 2_500, "all that could be answered"
    answered, rejected, _ = shared(GREEDY, MODEST, alike=True)["modest"]
    assert rejected > answered, "the control"
    counts = shared(GREEDY, Sender("other", 128, 0.0), Sender("third", 64, 0.0))
    each = [count[0] for count in counts.values()]
    assert min(each) >= 0.8 * max(each)
    assert max(longest_s for *_, longest_s in counts.values()) <= 0.5 * AdmissionConfig().headroom


def test_who_has_more_than_its_share_is_rejected_until_others_have_theirs():
    made = crowd(100)
    assert made.excess_s("interactive", 0.2, "", 1.0) > 0
    assert made.excess_s("interactive", 0.2, "new", 1.0) > 0, "too many are before it"
    assert crowd(12).excess_s("interactive", 0.2, "new", 1.0) <= 0
    assert crowd(12).excess_s("interactive", 0.2, "", 1.0) > 0, "the control"


def test_batches_of_one_client_leave_place_for_those_of_another_and_for_interactive_requests():
    made = InFlightRequests(CONFIG, 0)
    made.enter(0.0, "interactive", "greedy")
    made.leave(0.01, "interactive", "greedy")
    made.enter(1.0, "batch", "greedy", PLACES - 1)
    assert made.excess_s("batch", 100.0, "greedy", 1.0) <= 0, "a place is free"
    made.enter(1.0, "batch", "greedy", 64)
    assert made.excess_s("batch", 100.0, "greedy", 1.0) > 0
    for number in range(2):
        assert made.excess_s("batch", 100.0, "other", 1.0) <= 0, number
        made.enter(1.0, "batch", "other", 64)
    assert made.excess_s("batch", 100.0, "third", 1.0) > 0, "too much is held"
    assert made.excess_s("interactive", 0.02, "other", 1.0) <= 1e-9
    made.leave(2.0, "batch", "greedy", PLACES + 63)
    assert made.excess_s("batch", 100.0, "greedy", 2.0) <= 0


def test_without_keys_the_addresses_of_a_network_have_together_what_another_network_has():
    made = InFlightRequests(CONFIG, 0)
    for number in range(250):
        made.enter(1.0, "events", f"10.0.0.{number}", 2)
    assert made.excess_s("events", 1.0, "10.0.0.250", 1.0) > 0
    assert made.excess_s("events", 1.0, "10.0.1.1", 1.0) > 0, "too much is held already"
    made.leave(1.0, "events", "10.0.0.1", 2 * 64)
    for other in ("10.0.1.1", "2001:db8::1", "a key"):
        assert made.excess_s("events", 1.0, other, 1.0) <= 0
    assert made.excess_s("events", 1.0, "10.0.0.250", 1.0) > 0
    assert made.excess_s("events", 1.0, "::ffff:10.0.0.250", 1.0) > 0, "the same network"
    made.enter(1.0, "events", "2001:db8::2", PLACES)
    made.leave(1.0, "events", "2001:db8::2", PLACES)
    assert made.excess_s("events", 1.0, "2001:db8:0:ff::1", 1.0) <= 0


@pytest.mark.parametrize("given", [{}, {"x-deadline-ms": "1000"}, {"x-deadline-ms": "30000"}])
def test_a_longer_deadline_than_the_default_gives_no_more_places(given, deps, monkeypatch):
    made = crowd(60)
    app = create_app(replace(deps, settings=ServeConfig(), in_flight=made))
    response = ask(app, "POST", "/v1/recommend", json=ONE, headers=given)
    assert response.status_code == 429


@pytest.mark.usefixtures("full")
def test_who_is_turned_away_is_told_when_to_come_again_and_counted(call, deps, written):
    for path, body in (("", ONE), ("/batch", {"requests": [ONE]})):
        response = call("POST", f"/v1/recommend{path}", json=body)
        assert refusal(response)[:2] == (429, "overloaded")
        assert 3 <= int(response.headers["retry-after"]) <= 5, "not before there is time"
        assert "connection" not in response.headers, "a refused client need not connect again"
    page = deps.metrics.render()
    assert b'multitudes_shed_total{reason="in_flight",work="interactive"} 1.0' in page
    assert b'multitudes_shed_total{reason="in_flight",work="batch"} 1.0' in page
    assert b'multitudes_requests_total{method="POST",route="/v1/recommend",status="429"} 1.0' in page
    assert '"route": "/v1/recommend/batch"' in written.getvalue()
    assert deps.engine.asked == []
    assert deps.states.reads == []


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/items/101/similar"), ("PUT", "/v1/users/ann")])
def test_what_searches_or_writes_is_turned_away_too(method, path, call):
    assert refusal(call(method, path))[:2] == (429, "overloaded")


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/v1/releases", "/v1/users/ann"])
def test_all_else_is_never_turned_away(path, call):
    assert call("GET", path).status_code == 200


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("path", ["/v1/recommend", "/v1/recommend/batch", "/v1/events"])
@pytest.mark.parametrize(
    ("headers", "closes"), [({"content-length": "20"}, False), ({"content-length": "99999999"}, True), ({}, True)]
)
def test_nothing_of_a_body_is_read_and_one_without_end_ends_the_connection(path, headers, closes, deps):
    sent = list[Message]()

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        sent.append(message)

    names = [(b"host", b"127.0.0.1"), *((k.encode(), v.encode()) for k, v in headers.items())]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "headers": names}
    asyncio.run(create_app(deps)(scope, receive, send))
    assert sent[0]["status"] == 429
    assert ((b"connection", b"close") in sent[0]["headers"]) == closes


def test_a_batch_holds_its_places_until_it_is_answered_and_one_that_finds_none_free_is_rejected(deps, monkeypatch):
    monkeypatch.setattr("multitudes.service.in_flight.PLACES", 2)
    app, answer, go_on = create_app(deps), deps.engine.answer, asyncio.Event()
    many = {"requests": [{"history": [], "n": 1_000}] * 2}

    async def hanging(*given):
        await go_on.wait()
        async for one in answer(*given):
            yield one

    monkeypatch.setattr(deps.engine, "answer", hanging)

    async def once() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            first = asyncio.create_task(client.post("/v1/recommend/batch", json=many))
            async with asyncio.timeout(60):
                while not deps.in_flight._in_flight["batch"]:
                    await asyncio.sleep(0.01)
            second = await client.post("/v1/recommend/batch", json=many)
            go_on.set()
            answers = [await first, second, await client.post("/v1/recommend/batch", json=many)]
        return [one.status_code for one in answers]

    assert asyncio.run(once()) == [200, 429, 200]
    assert not deps.in_flight._in_flight.total()


def test_a_single_request_takes_places_by_what_it_sends_and_asks_for(deps, monkeypatch):
    app, answer, taken = create_app(deps), deps.engine.answer, list[int]()

    async def noted(*given):
        taken.append(len(deps.in_flight))
        async for one in answer(*given):
            yield one

    monkeypatch.setattr(deps.engine, "answer", noted)
    for body in (ONE, {"history": [], "n": 250, "rows": 20}, {"history": [10**6] * 9_000}):
        assert ask(app, "POST", "/v1/recommend", json=body).status_code == 200
    assert taken == [1, 13, 5]
    assert len(deps.in_flight) == 0


def test_after_a_batch_without_time_those_of_its_client_are_rejected_unread_for_a_while(monkeypatch):
    made, now_s = InFlightRequests(CONFIG, 32), 100.0
    monkeypatch.setattr("multitudes.service.in_flight.monotonic", lambda: now_s)
    with pytest.raises(OverloadError), made.hold("batch", "greedy", 1):
        raise OverloadError("no time", 60.0, "time")
    assert 0 < made.excess_s("batch", 5.0, "greedy", now_s) <= 1
    assert made.excess_s("batch", 5.0, "modest", now_s) <= 0
    assert made.excess_s("interactive", 5.0, "greedy", now_s) <= 0
    assert made.excess_s("batch", 5.0, "greedy", now_s + 1) <= 0


def test_events_are_rejected_while_many_are_stored_and_recommendations_are_answered(deps, monkeypatch):
    """Eight senders at once, each with more than a third of what is stored at a time."""
    events = [{"user_id": "ann", "item_id": 101, "event_id": f"e-{n}", "time_s": 1_750_000_000} for n in range(12)]
    monkeypatch.setattr("multitudes.service.in_flight.PLACES", 8)
    app, append = create_app(deps), deps.states.append
    stored = asyncio.Event()

    async def hanging(*args):
        await stored.wait()
        return await append(*args)

    deps.states.append = hanging

    async def once() -> tuple[list[httpx.Response], httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            sent = [asyncio.create_task(client.post("/v1/events", json={"events": events})) for _ in range(8)]
            answer = await client.post("/v1/recommend", json=ONE)
            async with asyncio.timeout(60):
                while sum(one.done() for one in sent) < 6:
                    await asyncio.sleep(0.01)
            stored.set()
            answers = await asyncio.gather(*sent)
            again = await client.post("/v1/events", json={"events": events * 5})
            assert again.status_code == 200, "a large one that is alone"
            return answers, answer

    answers, answer = asyncio.run(once())
    assert answer.status_code == 200
    assert sorted(one.status_code for one in answers) == [200] * 2 + [429] * 6
    rejected = next(one for one in answers if one.status_code == 429)
    assert refusal(rejected)[1] == "overloaded"
    assert rejected.headers["retry-after"] == "1"
    page = deps.metrics.render()
    assert b'multitudes_shed_total{reason="in_flight",work="events"} 6.0' in page
    assert b'multitudes_requests_total{method="POST",route="/v1/events",status="429"} 6.0' in page
