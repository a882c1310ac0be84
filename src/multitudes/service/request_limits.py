"""The head of a request is bounded: the server itself takes one of any size, before anybody is asked for a key.

The size and the pace of a body are bounded before it is read, whatever its head says of it.

Connections on which nobody asks anything are closed: those whose head never ends, and those that never begin.

The server itself ends one that lies idle *after* an answer; without this, one that sent half a head would stay.
"""

import asyncio
from typing import Any, Final, Protocol, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from multitudes.service.errors import ApiError, error_response
from multitudes.service.settings import HttpConfig

MAX_HEAD_BYTES: Final = 65_536


class HeadLimitProtocol(HttpToolsProtocol):
    """The server's protocol; a head, or what trails a body in pieces, of more than ``MAX_HEAD_BYTES`` ends the connection.

    What arrived with one read is parsed before it is counted, so a head may be larger by that.
    """

    _unfinished = 0  # bytes since the last piece of a body, or end of a request

    def data_received(self, data: bytes) -> None:
        """Take in what arrived."""
        self._unfinished += len(data)
        super().data_received(data)
        if self._unfinished > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The head of the request is larger than {MAX_HEAD_BYTES:,} bytes; send less.")

    def on_body(self, body: bytes) -> None:
        """Go on: a piece of a body is here."""
        self._unfinished = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Go on: a request is complete."""
        self._unfinished = 0
        super().on_message_complete()


_WITH_BODY = {"POST", "PUT", "PATCH"}


def RequestLimitsMiddleware(app: ASGIApp, http: HttpConfig) -> ASGIApp:
    """Return the app behind a door that lets only whole, small JSON bodies through."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        try:
            body = await _read_within_limits(scope, receive, http)
        except ApiError as refusal:
            await error_response(refusal, scope["state"]["request_id"])(scope, receive, send)
            return
        if body is not None:
            await app(scope, _replay(body, receive), send)

    return run


async def _read_within_limits(scope: Scope, receive: Receive, http: HttpConfig) -> bytes | None:
    """Return the body; None where the client left before its end."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length[:20]) > http.body_bytes:
        raise _too_large(http)
    try:
        async with asyncio.timeout(http.body_s):
            body = await _read_chunks(receive, http)
    except TimeoutError:
        raise ApiError(408, f"the body did not arrive within {http.body_s:g} s; send it faster") from None
    if body and scope["method"] in _WITH_BODY and not _is_json(headers.get(b"content-type", b"")):
        raise ApiError(415, "the body is not said to be JSON; send the header content-type: application/json")
    return body


async def _read_chunks(receive: Receive, http: HttpConfig) -> bytes | None:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > http.body_bytes:
            raise _too_large(http)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_large(http: HttpConfig) -> ApiError:
    return ApiError(413, f"the body is larger than {http.body_bytes:,} bytes; send less in one request")


def _is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() == b"application/json"


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receiver that gives the body once, and then what the client does next."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


class _Connection(Protocol):
    """What is read of the server's protocol."""

    transport: asyncio.Transport | None
    cycle: Any  # the request that is being answered, or was last; None: there was none
    timeout_keep_alive_task: asyncio.TimerHandle | None  # there while the connection lies idle after an answer


def protocol_with_idle_timeout(
    head_s: float,
    config: Config,
    server_state: ServerState,
    app_state: dict[str, Any],
    _loop: asyncio.AbstractEventLoop | None = None,
) -> asyncio.Protocol:
    """Make the server's protocol for one connection, and close it when ``head_s`` pass without a request.

    It is looked at once in ``head_s``, so a client has between one and two times that. The other arguments are those
    that the server gives.
    """
    make = cast("Any", HeadLimitProtocol)
    connection = make(config=config, server_state=server_state, app_state=app_state, _loop=_loop)
    asyncio.get_running_loop().call_later(head_s, _close_if_idle, connection, head_s, None)
    return cast("asyncio.Protocol", connection)


def _close_if_idle(connection: _Connection, head_s: float, before: object) -> None:
    transport, now = connection.transport, connection.cycle
    if transport is None or transport.is_closing():
        return
    answering = now is not None and not now.response_complete
    resting = connection.timeout_keep_alive_task is not None
    if not answering and not resting and now is before:
        transport.close()
        return
    asyncio.get_running_loop().call_later(head_s, _close_if_idle, connection, head_s, now)
