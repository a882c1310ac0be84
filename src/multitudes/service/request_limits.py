"""Limits on a request: the size of its head, the size and the duration of its body, and idle connections.

The HTTP server itself accepts a head of any size, and waits for ever for a head that does not end, both before a key is
checked. Trial ``access`` needs the limits of bodies, trial ``halfopen`` those of heads and of idle connections.
"""

import asyncio
from typing import Any, Final, Protocol, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from multitudes.service.early_rejection import EarlyRejectionProtocol
from multitudes.service.errors import ApiError, error_response
from multitudes.service.settings import HttpConfig
from multitudes.service.unsent_answers import UnsentAnswers

MAX_HEAD_BYTES: Final = 65_536
_METHODS_WITH_BODY = {"POST", "PUT", "PATCH"}


class RequestLimitsMiddleware:
    """Reads the body and passes it on whole; answers 413, 408 or 415 if it is too large, too slow or not JSON."""

    def __init__(self, app: ASGIApp, http: HttpConfig) -> None:
        self._app, self._http = app, http

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body, unless the client disconnects before the end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await _read_within_limits(scope, receive, self._http)
        except ApiError as error:
            await error_response(error, scope["state"]["request_id"])(scope, receive, send)
            return
        if body is not None:
            scope["state"]["body_bytes"] = len(body)
            await self._app(scope, replay_body(body, receive), send)


async def _read_within_limits(scope: Scope, receive: Receive, http: HttpConfig) -> bytes | None:
    """Return the body, or None if the client disconnected before its end; the limits hold even if headers are wrong."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length[:20]) > http.body_bytes:
        raise _too_large(http)
    try:
        async with asyncio.timeout(http.client_s):
            body = await _read_chunks(receive, http)
    except TimeoutError:
        raise ApiError(408, f"the body did not arrive within {http.client_s:g} s; send it faster") from None
    if body and scope["method"] in _METHODS_WITH_BODY and not _is_json(headers.get(b"content-type", b"")):
        raise ApiError(415, "the content type is not JSON; send the header content-type: application/json")
    return body


async def _read_chunks(receive: Receive, http: HttpConfig) -> bytes | None:
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > http.body_bytes:
            raise _too_large(http)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _too_large(http: HttpConfig) -> ApiError:
    return ApiError(413, f"the body is larger than {http.body_bytes:,} bytes; send less in one request")


def _is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() == b"application/json"


def replay_body(body: bytes, receive: Receive) -> Receive:
    """Return a receiver that yields the body once, and then the messages that the client sends next."""
    sent = False

    async def receive_body_first() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_body_first


class HeadLimitProtocol(EarlyRejectionProtocol):
    """The server's protocol with a limit on heads and on chunked trailers.

    More than ``MAX_HEAD_BYTES`` end the connection with status 400. Bytes that arrive with one read are parsed before
    they are counted, so a head may exceed the limit by one read.
    """

    _head_bytes = 0  # since the last piece of a body or the end of a request

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, and end the connection if the head is too large."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The head of the request is larger than {MAX_HEAD_BYTES:,} bytes; send less.")

    def on_body(self, body: bytes) -> None:
        """Restart the count at a piece of a body."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Restart the count at the end of a request."""
        self._head_bytes = 0
        super().on_message_complete()


class _Connection(Protocol):
    """The part of the server's protocol that ``_close_if_idle`` reads."""

    transport: asyncio.Transport | None
    cycle: Any  # the request that is being answered, or the last one; None: no request yet
    timeout_keep_alive_task: asyncio.TimerHandle | None  # set while the server itself times an idle connection


def protocol_with_idle_timeout(
    head_s: float,
    unsent: UnsentAnswers,
    config: Config,
    server_state: ServerState,
    app_state: dict[str, Any],
    _loop: asyncio.AbstractEventLoop | None = None,
) -> asyncio.Protocol:
    """Return the server's protocol for one connection, which closes if no request is complete within ``head_s``.

    The server itself times a connection that is idle *after* an answer; without this, one that sends half a head, or
    nothing, would stay for ever. The connection is checked every ``head_s``, so a client has between one and two times
    that. ``unsent`` is shared by the connections of a process. The other arguments are those that the server passes.
    """
    protocol = cast("Any", HeadLimitProtocol)
    connection = protocol(config=config, server_state=server_state, app_state=app_state, _loop=_loop, unsent=unsent)
    asyncio.get_running_loop().call_later(head_s, _close_if_idle, connection, head_s, None)
    return cast("asyncio.Protocol", connection)


def _close_if_idle(connection: _Connection, head_s: float, last_cycle: object) -> None:
    """Close a connection that has had no request since the last check; otherwise check again later."""
    transport, cycle = connection.transport, connection.cycle
    if transport is None or transport.is_closing():
        return
    is_answering = cycle is not None and not cycle.response_complete
    server_times_it = connection.timeout_keep_alive_task is not None
    if not is_answering and not server_times_it and cycle is last_cycle:
        transport.close()
        return
    asyncio.get_running_loop().call_later(head_s, _close_if_idle, connection, head_s, cycle)
