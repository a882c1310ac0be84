"""Clients that do not read: they delay nobody, are ended in time, and hold a bounded number of bytes."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from multitudes.service.admission import AdmissionConfig
from multitudes.service.app import create_app
from multitudes.service.http_protocol import ServiceProtocol
from multitudes.service.in_flight import InFlightRequests
from multitudes.service.unsent_answers import MeasuredTransport, UnsentAnswers

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
LARGE = bytes(range(256)) * (8 << 12)  # 8 MB: more than the buffers of a socket take


@pytest.mark.parametrize(("path", "body"), [("", b'{"history":[]}'), ("/batch", b'{"requests":[{"history":[]}]}')])
def test_a_request_is_counted_out_before_its_answer_is_sent(path, body, deps, monkeypatch):
    made, at_answer, at_send = InFlightRequests(AdmissionConfig(), 1), list[int](), list[int]()
    answer = deps.engine.answer

    def watched(*given):
        at_answer.append(made._in_flight.total())
        return answer(*given)

    monkeypatch.setattr(deps.engine, "answer", watched)

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        at_send.append(made._in_flight.total())

    scope = {"type": "http", "method": "POST", "path": f"/v1/recommend{path}", "raw_path": b"/", "query_string": b""}
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    asyncio.run(create_app(replace(deps, in_flight=made))({**scope, "headers": headers}, receive, send))
    assert (at_answer, at_send) == ([1], [0, 0])


async def answer_large(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-length", b"%d" % len(LARGE))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": LARGE})


async def with_server(
    unsent: UnsentAnswers, client: Callable[[tuple[str, int], set[Any]], Coroutine[Any, Any, None]]
) -> None:
    config = Config(answer_large, lifespan="off", log_config=None, ws="none", timeout_keep_alive=60)
    config.load()
    state, loop = ServerState(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: ServiceProtocol(config, state, {}, unsent=unsent), "127.0.0.1", 0)
    try:
        await client(server.sockets[0].getsockname(), state.connections)
    finally:
        server.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.01)


async def stalled(unsent: UnsentAnswers, connections: set[Any]) -> int:
    """Wait until the only connection holds bytes that no longer move, and return how many it passed to its socket."""
    await until(lambda: bool(connections))
    (connection,) = connections
    before, transport = -1, connection.transport
    while transport.sent_bytes() != before or not transport.sent_bytes():
        before = transport.sent_bytes()
        await asyncio.sleep(0.1)
    unsent.check(0.0)
    return int(transport.get_write_buffer_size())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("requests", [GET, GET * 50, GET.replace(b"x\r\n", b"x\r\nconnection: close\r\n")])
def test_a_client_that_never_reads_is_ended_and_holds_a_chunk_or_two_until_then(requests, loop):
    factory = asyncio.new_event_loop if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    unsent = UnsentAnswers(10)

    async def client(address, connections):
        with socket.create_connection(address) as deaf:
            deaf.sendall(requests)
            assert await stalled(unsent, connections) <= 3 * 65_536
            unsent.check(9.0)
            await asyncio.sleep(0.05)
            assert connections, "not before its time"
            unsent.check(10.0)
            await until(lambda: not connections)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(with_server(unsent, client))


def test_a_client_that_reads_gets_all_of_its_answers_however_often_it_is_checked():
    unsent = UnsentAnswers(1)

    async def client(address, connections):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(GET * 2)
        for time_s in range(2):
            await reader.readuntil(b"\r\n\r\n")
            got = bytearray()
            while len(got) < len(LARGE):
                got += await reader.read(min(1 << 16, len(LARGE) - len(got)))
                unsent.check(time_s + len(got) / len(LARGE))
            assert got == LARGE
        assert connections
        unsent.check(1_000.0)
        assert connections, "an idle connection has no unsent bytes"
        writer.close()

    asyncio.run(with_server(unsent, client))


@dataclass(eq=False)
class Held(MeasuredTransport):
    """A connection with so many bytes."""

    unsent: int
    sent: int = 0
    ended: bool = False

    def sent_bytes(self) -> int:
        return self.sent

    def unsent_bytes(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.ended = True


def test_all_connections_together_are_bounded_and_who_reads_is_ended_last():
    async def played() -> list[bool]:
        unsent = UnsentAnswers(10, max_bytes=1_000)
        deaf, slow, small = Held(400), Held(500), Held(50)
        for connection in (deaf, slow, small):
            unsent.add(connection)
        now_s = asyncio.get_running_loop().time()
        unsent.check(now_s + 1)
        slow.sent = small.sent = 10
        unsent.reserve(100, now_s + 2)
        assert not any(one.ended for one in (deaf, slow, small)), "1,050 at most, 950 when they are counted"
        slow.unsent = 581
        unsent.reserve(100, now_s + 3)
        return [one.ended for one in (deaf, slow, small)]

    assert asyncio.run(played()) == [True, False, False]
