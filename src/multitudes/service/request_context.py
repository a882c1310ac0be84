"""How much time a request has: what its header says, or the default, counted from when its head had arrived.

The frame of every request: its name, its clock, its measures, and an answer also where the code behind it failed.
"""

import re
from time import perf_counter
from typing import Annotated, Final
from urllib.parse import unquote_to_bytes
from uuid import uuid4

from fastapi import Header, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multitudes.service.errors import ApiError, error_response, to_api_error
from multitudes.service.journal import Journal
from multitudes.service.metrics import Metrics
from multitudes.service.settings import DeadlineConfig

DEADLINE_HEADER: Final = b"x-deadline-ms"
DeadlineHeader = Annotated[
    int | None,
    Header(
        alias=DEADLINE_HEADER.decode(),
        ge=1,
        le=3_600_000,
        description="Milliseconds that the answer may take; bounded by the settings of the service.",
    ),
]


class Deadline:
    """When a request must be answered."""

    def __init__(self, request: Request, given_ms: int | None, default_ms: int, config: DeadlineConfig) -> None:
        self._due_s = float(request.state.start_s) + time_limit_s(given_ms, default_ms, config)

    def remaining_s(self) -> float:
        """Return the seconds that are left; never below 0."""
        return max(0.0, self._due_s - perf_counter())


def time_limit_s(given_ms: int | None, default_ms: int, config: DeadlineConfig) -> float:
    """Return the seconds that a request has in all."""
    return min(default_ms if given_ms is None else given_ms, config.max_ms) / 1e3


_VALID_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
_SECURITY_HEADERS: Final = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


def RequestContextMiddleware(app: ASGIApp, measures: Metrics, journal: Journal) -> ASGIApp:
    """Return the app within the frame."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        start_s, status = perf_counter(), 0
        request_id = _request_id(scope)
        measures.start_request()
        scope.setdefault("state", {}).update(request_id=request_id, start_s=start_s)

        async def framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                name = scope["state"]["request_id"].encode("utf-8", "replace")
                message["headers"] = [
                    *message.get("headers", ()),
                    *_SECURITY_HEADERS,
                    (b"x-request-id", _header_safe(name)),
                ]
            await send(message)

        try:
            if not is_utf8(scope.get("raw_path") or b""):
                refusal = ApiError(
                    400, "the address is no UTF-8 once decoded; encode ids as UTF-8 before percent-encoding"
                )
                await error_response(refusal, request_id)(scope, receive, framed)
            else:
                await app(scope, receive, framed)
        except Exception as error:
            journal.log_defect(scope["state"], error)
            if status == 0:
                await error_response(to_api_error(RuntimeError()), request_id)(scope, receive, framed)
        finally:
            seconds = perf_counter() - start_s
            measures.finish_request(_route(scope), scope["method"], status, seconds)
            journal.log_request(scope, _route(scope), status, seconds)

    return run


def _request_id(scope: Scope) -> str:
    given = dict(scope["headers"]).get(b"x-request-id", b"")
    return given.decode("ascii") if _VALID_REQUEST_ID.fullmatch(given) else uuid4().hex


def _header_safe(name: bytes) -> bytes:
    """Return a name as a header may carry it."""
    return re.sub(rb"[^\x21-\x7e]", b"?", name)


def _route(scope: Scope) -> str:
    """Return the pattern of the address, never an id; what is no address of the service has one name for all."""
    route: str = scope["state"].get("route") or getattr(scope.get("route"), "path", "none")
    return route


def is_utf8(raw_path: bytes) -> bool:
    """Tell whether an address is UTF-8 once decoded; a server that replaces what is not would change an id."""
    try:
        unquote_to_bytes(raw_path.partition(b"?")[0]).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
