"""Requests that hold another one in their body: who reads them otherwise than a proxy does would run the inner one.

A proxy looks at the head alone: at who asks for what. So the inner request, here one that stores an event, must never
be run. Bodies come at once, later, in pieces, and with lengths that contradict each other.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from multitudes.progress import Progress
from reliability.claims import TrialResult, at_most
from reliability.codes import Code, both
from reliability.connection import Connection, post, request, run
from reliability.server import UNHURRIED
from reliability.world import FIRST_ITEM, World

_COMMIT = "8c7ebc0"  # the attack was first made on it
_CONTROL = f"commit {_COMMIT}"
_WORLD, _WAIT_S, _AT_ONCE = World(items=200, users=1_000), 0.5, 16
_HEADS = [
    f"{head} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n".encode()
    for head in (
        "POST /v1/recommend",
        "POST /v1/events",
        "POST /v1/recommend/batch",
        "POST /v1/nowhere",
        "GET /healthz",
    )
    for host in ("127.0.0.1", "evil.example")
]
_CHUNKED = (
    b"transfer-encoding: chunked",
    b"transfer-encoding : chunked",
    b"transfer-encoding: xchunked",
    b"transfer-encoding: chunked, identity",
    b"transfer-encoding: identity, chunked",
    b"transfer-encoding: chunked\r\ntransfer-encoding: x",
    b"transfer-encoding:\r\n chunked",
    b"transfer-encoding: \x0bchunked",
    b"x: y\ntransfer-encoding: chunked",
    b"x: y\rtransfer-encoding: chunked",
)
_LENGTHS = (
    b"content-length: %d\r\ncontent-length: 0",
    b"content-length: 0\r\ncontent-length: %d",
    b"content-length: 0, %d",
    b"content-length: +%d",
    b"content-length: %d abc",
    b"content-length:\r\n %d",
    b"content-length: 18446744073709551616%d",
)
_ASKING = (
    b"",
    b"expect: 100-continue\r\n",
    b"connection: upgrade\r\nupgrade: h2c\r\n",
    b"x-forwarded-for: 10.0.0.1\r\n",
)


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Send each kind of request, and look which inner ones were run; it is the same at every scale."""
    del scale

    def attack(code: Code) -> dict[str, Any]:
        code.publish(_WORLD)
        with code.serving(UNHURRIED) as server:
            return run(_send_all(server.port))

    now, before = both(folder, attack, progress, _COMMIT)
    claim = at_most(0, f"of {now['sent']} inner requests, run", now["run"], _CONTROL, before["run"])
    return TrialResult([claim], {"now": now, "before": before})


def _cases(head: bytes, inner: bytes) -> Iterator[list[bytes]]:
    """Yield the pieces in which a request with another one in its body is sent."""
    size, chunk = len(inner), b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner)
    for asking in _ASKING:
        measured = head + asking + b"content-length: %d\r\n\r\n" % size
        yield from ([measured + inner], [measured, inner], [measured + inner[:9], inner[9:]])
        yield [head + asking + b"transfer-encoding: chunked\r\n\r\n", chunk]
    yield [head + b"content-length: 2000000\r\n\r\n", inner, inner]
    for chunked in _CHUNKED:
        yield [head + chunked + b"\r\ncontent-length: %d\r\n\r\n0\r\n\r\n" % (size + 5) + inner]
        yield [head + b"content-length: 4\r\n" + chunked + b"\r\n\r\n" + chunk]
    for length in _LENGTHS:
        yield [head + length % size + b"\r\n\r\n" + inner]


def _event(user: int) -> bytes:
    return post("/v1/events", {"events": [{"event_id": "inner", "user_id": user, "item_id": FIRST_ITEM}]})


async def _send_all(port: int) -> dict[str, Any]:
    """Send all, each with an event of a user of its own; that of the first user is sent as it should be."""
    user, statuses, at_once = 1, Counter[str](), asyncio.Semaphore(_AT_ONCE)

    async def send(pieces: list[bytes]) -> None:
        async with at_once:
            statuses["/".join(await _answers(port, pieces))] += 1

    sending = [send([_event(user)])]
    for head in _HEADS:
        for number, _ in enumerate(_cases(head, b"")):
            user += 1
            sending.append(send(list(_cases(head, _event(user)))[number]))
    await asyncio.gather(*sending)
    connection = await Connection.to(port)
    stored = [await _has_event(connection, one) for one in range(1, user + 1)]
    assert stored[0], "a request that is sent as it should be is run"
    return {"sent": user - 1, "run": sum(stored) - 1, "answers": dict(statuses)}


async def _answers(port: int, pieces: list[bytes]) -> list[str]:
    """Return the statuses of what came back in a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    with suppress(OSError, TimeoutError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)
        async with asyncio.timeout(_WAIT_S):
            while piece := await reader.read(65_536):
                got += piece
    writer.close()
    return [line[9:12].decode() for line in got.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


async def _has_event(connection: Connection, user: int) -> bool:
    answer = await connection.ask(request("GET", f"/v1/users/{user}"))
    return bool(json.loads(answer.body)["events"])
