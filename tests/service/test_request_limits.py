"""Limits of a request: bodies that are too large or too slow, heads without an end, and idle connections."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import pytest
from starlette.types import Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from multitudes.service.http_protocol import MAX_HEAD_BYTES, ServiceProtocol
from multitudes.service.in_flight import InFlightRequests
from multitudes.service.metrics import Metrics
from multitudes.service.request_limits import RequestLimitsMiddleware
from multitudes.service.settings import HttpConfig
from multitudes.service.unsent_answers import UnsentAnswers
from tests.service.conftest import refusal

HTTP = HttpConfig(body_bytes=1_024, client_s=0.05)
JSON = {"content-type": "application/json"}


class Client:
    """A client that sends the given messages; ``taken`` counts what was read of them."""

    def __init__(self, *messages: Message, headers: dict[str, str] | None = None) -> None:
        self.messages, self.taken = list(messages), 0
        self.sent: list[Message] = []
        self.reached: bytes | None = None
        encoded = [(k.encode(), v.encode()) for k, v in ({**JSON, **(headers or {})}).items()]
        self.scope = {"type": "http", "method": "POST", "headers": encoded, "path": "/", "state": {"request_id": "r"}}

    async def receive(self) -> Message:
        if not self.messages:
            await asyncio.sleep(60)  # a client that says no more
        self.taken += 1
        return self.messages.pop(0)

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        message = await receive()
        self.reached = message["body"]
        assert not message["more_body"]

    def run(self) -> int | None:
        """Return the status of the refusal; None: the body went through, or the client left."""

        async def once() -> None:
            await RequestLimitsMiddleware(self.app, HTTP, Metrics(), InFlightRequests())(
                self.scope, self.receive, self.send
            )

        asyncio.run(once())
        return int(self.sent[0]["status"]) if self.sent else None


def part(size: int, more: bool) -> Message:
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


def test_a_body_goes_through_whole_up_to_the_bound():
    for client in (Client(part(1_024, False)), Client(part(1_000, True), part(24, False)), Client(part(0, False))):
        assert client.run() is None
        assert client.reached is not None
        assert set(client.reached) <= {ord("x")}
    assert client.reached == b""


@pytest.mark.parametrize("length", ["1025", "104857600", "9" * 5_000, "-1", "1e3", "0x10", ""])
def test_a_head_that_says_too_much_is_refused_before_anything_is_read(length):
    client = Client(part(1, False), headers={"content-length": length})
    assert client.run() == 413
    assert (client.taken, client.reached) == (0, None)


def test_a_body_in_parts_is_read_no_further_than_the_bound():
    """Also one whose head said less than what comes."""
    assert Client(part(1_000, True), part(25, False)).run() == 413
    for headers in ({}, {"content-length": "10"}):
        client = Client(*[part(500, True)] * 1_000, headers=headers)
        assert client.run() == 413
        assert (client.taken, client.reached) == (3, None)


def test_a_body_that_stops_or_comes_drop_by_drop_is_given_up():
    client = Client(part(10, True))
    assert client.run() == 408
    assert client.reached is None
    assert (b"connection", b"close") in client.sent[0]["headers"]

    class Dripping(Client):
        async def receive(self) -> Message:
            await asyncio.sleep(0.02)
            return part(1, True)

    assert Dripping().run() == 408


def test_a_client_that_leaves_gets_nothing():
    client = Client(part(10, True), {"type": "http.disconnect"})
    assert client.run() is None
    assert client.reached is None


def test_through_the_whole_service_a_hundred_megabytes_are_refused(plain_call):
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(1_600):
            yield b" " * 65_536

    assert refusal(plain_call("POST", "/v1/recommend", content=chunks(), headers=JSON))[:2] == (413, "too_large")
    lying = {**JSON, "content-length": "10"}
    response = plain_call("POST", "/v1/recommend", content=b" " * 2_000_000, headers=lying)
    assert refusal(response)[:2] == (413, "too_large")


GET = b"GET / HTTP/1.1\r\nhost: x\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
LINES = b"x: y\r\n" * MAX_HEAD_BYTES
ENDLESS = {
    "one line": GET + b"x: " + b"y" * 6 * MAX_HEAD_BYTES,
    "many lines": GET + LINES,
    "an address": b"GET /" + b"x" * 6 * MAX_HEAD_BYTES,
    "behind another": GET + b"\r\n" + GET + LINES,
    "behind a body": CHUNKED + b"1\r\nx\r\n0\r\n" + LINES,
}
LONG = {
    "a head that ends": GET + b"x: " + b"y" * (MAX_HEAD_BYTES - 5_000) + b"\r\n\r\n",
    "a body": b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 400000\r\n\r\n" + b"x" * 400_000,
    "a body in pieces": CHUNKED + b"1\r\nx\r\n" * MAX_HEAD_BYTES + b"0\r\n\r\n",
    "many requests": (GET + b"\r\n") * 10_000,
}


async def swallow(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer when all of a request is here."""
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def answered(sent: bytes, answers: int) -> tuple[bytes, bool]:
    """Send pieces as a network would; return what came back until so many answers, and whether that was the end."""
    config = Config(swallow, lifespan="off", log_config=None, ws="none")
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: ServiceProtocol(config, state, {}, unsent=UnsentAnswers(60)), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    back = b""
    try:
        for start in range(0, len(sent), 5_000):
            writer.write(sent[start : start + 5_000])
            await writer.drain()
        async with asyncio.timeout(240):
            while back.count(b"HTTP/1.1 ") < answers:
                if not (piece := await reader.read(1 << 16)):
                    return back, True
                back += piece
        return back, False
    except ConnectionError:
        return back, True
    finally:
        writer.close()
        server.close()


@pytest.mark.parametrize("sent", ENDLESS.values(), ids=ENDLESS)
def test_a_head_without_end_ends_the_connection(sent):
    back, ended = asyncio.run(answered(sent, 99))
    assert ended
    assert back.startswith((b"HTTP/1.1 400", b"HTTP/1.1 204")) or not back


@pytest.mark.parametrize("sent", LONG.values(), ids=LONG)
def test_what_is_long_for_another_reason_is_answered(sent):
    requests = sent.count(b" HTTP/1.1")
    back, ended = asyncio.run(answered(sent, requests))
    assert not ended
    assert back.count(b"HTTP/1.1 204") == requests


DONE, GOING = SimpleNamespace(response_complete=True), SimpleNamespace(response_complete=False)


@pytest.mark.parametrize(
    ("cycle", "resting", "before", "closed"),
    [
        (None, False, None, True),  # nothing was ever asked
        (DONE, False, DONE, True),  # a head began behind an answer, and has not ended since the last look
        (DONE, False, None, False),  # it began behind an answer, a moment ago for all that is known
        (DONE, True, DONE, False),  # it lies idle after an answer: another rule
        (GOING, False, GOING, False),  # it is being answered, however long that takes
    ],
)
def test_a_connection_is_closed_when_no_request_came_between_two_looks(cycle, resting, before, closed):
    shut = list[bool]()
    transport = SimpleNamespace(is_closing=lambda: bool(shut), close=lambda: shut.append(True))
    config = Config(swallow, lifespan="off", log_config=None, ws="none")

    async def look() -> None:
        connection = ServiceProtocol(config, ServerState(), {}, unsent=UnsentAnswers(60.0))
        connection.transport, connection.cycle = transport, cycle
        connection.timeout_keep_alive_task = cast("asyncio.TimerHandle", object()) if resting else None
        connection.close_if_idle(before)

    asyncio.run(look())
    assert bool(shut) == closed
