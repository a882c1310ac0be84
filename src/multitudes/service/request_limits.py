"""Limits on the size, the duration and the type of a body; those of heads are in ``http_protocol``.

Trial ``access`` needs them.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multitudes.service.errors import ApiError, error_response
from multitudes.service.settings import HttpConfig

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
