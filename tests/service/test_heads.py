"""A head without end is not kept in memory; what is long for another reason goes on."""

import asyncio

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from multitudes.service.request_limits import MAX_HEAD_BYTES, HeadLimitProtocol

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
        lambda: HeadLimitProtocol(config, state, {}), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    back = b""
    try:
        for start in range(0, len(sent), 5_000):
            writer.write(sent[start : start + 5_000])
            await writer.drain()
        async with asyncio.timeout(20):
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
