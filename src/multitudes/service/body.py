"""The size and the pace of a body are bounded before it is read, whatever its head says of it."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multitudes.service.refusals import RefusalError, refused
from multitudes.service.settings import HttpConfig

_WITH_BODY = {"POST", "PUT", "PATCH"}


def bounded(app: ASGIApp, http: HttpConfig) -> ASGIApp:
    """Return the app behind a door that lets only whole, small JSON bodies through."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        try:
            body = await _body(scope, receive, http)
        except RefusalError as refusal:
            await refused(refusal, scope["state"]["request_id"])(scope, receive, send)
            return
        if body is not None:
            await app(scope, _replay(body, receive), send)

    return run


async def _body(scope: Scope, receive: Receive, http: HttpConfig) -> bytes | None:
    """Return the body; None where the client left before its end."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length[:20]) > http.body_bytes:
        raise _too_large(http)
    try:
        async with asyncio.timeout(http.body_s):
            body = await _read(receive, http)
    except TimeoutError:
        raise RefusalError(408, f"the body did not arrive within {http.body_s:g} s; send it faster") from None
    if body and scope["method"] in _WITH_BODY and not _is_json(headers.get(b"content-type", b"")):
        raise RefusalError(415, "the body is not said to be JSON; send the header content-type: application/json")
    return body


async def _read(receive: Receive, http: HttpConfig) -> bytes | None:
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


def _too_large(http: HttpConfig) -> RefusalError:
    return RefusalError(413, f"the body is larger than {http.body_bytes:,} bytes; send less in one request")


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
