"""Bodies: how large and how slow one may be is decided before it is read, and not by what its head says."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.types import Message, Receive, Scope, Send

from multitudes.service.request_limits import RequestLimitsMiddleware
from multitudes.service.settings import HttpConfig
from tests.service.conftest import refusal

HTTP = HttpConfig(body_bytes=1_024, body_s=0.05)
JSON = {"content-type": "application/json"}


class Client:
    """A client that sends the given messages; ``taken`` counts what was read of them."""

    def __init__(self, *messages: Message, headers: dict[str, str] | None = None) -> None:
        self.messages, self.taken = list(messages), 0
        self.sent: list[Message] = []
        self.reached: bytes | None = None
        encoded = [(k.encode(), v.encode()) for k, v in ({**JSON, **(headers or {})}).items()]
        self.scope = {"type": "http", "method": "POST", "headers": encoded, "state": {"request_id": "r"}}

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
            await RequestLimitsMiddleware(self.app, HTTP)(self.scope, self.receive, self.send)

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


def test_a_body_that_stops_on_its_way_is_given_up():
    client = Client(part(10, True))
    assert client.run() == 408
    assert client.reached is None
    assert (b"connection", b"close") in client.sent[0]["headers"]


def test_a_body_that_comes_drop_by_drop_is_given_up_as_a_whole():
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
