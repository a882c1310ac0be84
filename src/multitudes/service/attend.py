"""The frame of every request: its name, its clock, its measures, and an answer also where the code behind it failed."""

import re
from time import perf_counter
from typing import Final
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multitudes.service.journal import Journal
from multitudes.service.measures import Measures
from multitudes.service.paths import is_text
from multitudes.service.refusals import RefusalError, as_refusal, refused

_GIVEN_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
_SECURITY: Final = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


def attended(app: ASGIApp, measures: Measures, journal: Journal) -> ASGIApp:
    """Return the app within the frame."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        start_s, status = perf_counter(), 0
        request_id = _request_id(scope)
        measures.began()
        scope.setdefault("state", {}).update(request_id=request_id, start_s=start_s)

        async def framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                name = scope["state"]["request_id"].encode("utf-8", "replace")
                message["headers"] = [*message.get("headers", ()), *_SECURITY, (b"x-request-id", _plain(name))]
            await send(message)

        try:
            if not is_text(scope.get("raw_path") or b""):
                refusal = RefusalError(
                    400, "the address is no UTF-8 once decoded; encode ids as UTF-8 before percent-encoding"
                )
                await refused(refusal, request_id)(scope, receive, framed)
            else:
                await app(scope, receive, framed)
        except Exception as error:
            journal.defect(scope["state"], error)
            if status == 0:
                await refused(as_refusal(RuntimeError()), request_id)(scope, receive, framed)
        finally:
            seconds = perf_counter() - start_s
            measures.request(_route(scope), scope["method"], status, seconds)
            journal.request(scope, _route(scope), status, seconds)

    return run


def _request_id(scope: Scope) -> str:
    given = dict(scope["headers"]).get(b"x-request-id", b"")
    return given.decode("ascii") if _GIVEN_ID.fullmatch(given) else uuid4().hex


def _plain(name: bytes) -> bytes:
    """Return a name as a header may carry it."""
    return re.sub(rb"[^\x21-\x7e]", b"?", name)


def _route(scope: Scope) -> str:
    """Return the pattern of the address, never an id; what is no address of the service has one name for all."""
    route: str = scope["state"].get("route") or getattr(scope.get("route"), "path", "none")
    return route
