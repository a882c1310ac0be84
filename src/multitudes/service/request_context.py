"""The context of a request: its id, its clock and its deadline, the metrics and the journal line that it ends in."""

import os
from time import perf_counter
from typing import Annotated, Final
from urllib.parse import unquote_to_bytes

from fastapi import Header, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multitudes.service.errors import ApiError, error_response, to_api_error
from multitudes.service.journal import Journal
from multitudes.service.loop_lag import LoopLagMonitor
from multitudes.service.metrics import Metrics
from multitudes.service.settings import DeadlineConfig

SECURITY_HEADERS: Final = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
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


class RequestContextMiddleware:
    """Gives a request its id and its clock, counts it and logs it; answers 500 if the code behind it fails."""

    def __init__(self, app: ASGIApp, metrics: Metrics, journal: Journal, loop_lag: LoopLagMonitor) -> None:
        self._app, self._metrics, self._journal, self._loop_lag = app, metrics, journal, loop_lag

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; its id and the time of its arrival are in ``scope["state"]``."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start_s, status = perf_counter(), 0
        request_id = new_request_id()
        self._metrics.in_flight.inc()
        self._loop_lag.enter()
        scope.setdefault("state", {}).update(request_id=request_id, start_s=start_s)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = list(message.get("headers", ()))
                message["headers"] = [
                    *own,
                    *(header for header in SECURITY_HEADERS if header[0] not in dict(own)),  # a page has its policy
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            if not is_utf8(scope.get("raw_path") or b""):
                error = ApiError(400, "the path is not UTF-8; encode ids as UTF-8 before percent-encoding")
                await error_response(error, request_id)(scope, receive, send_with_headers)
            else:
                await self._app(scope, receive, send_with_headers)
        except Exception as error:
            self._journal.log_defect(scope["state"], error)
            if status == 0:
                response = error_response(to_api_error(RuntimeError()), request_id)
                await response(scope, receive, send_with_headers)
        finally:
            seconds = perf_counter() - start_s
            self._loop_lag.leave()
            self._metrics.in_flight.dec()
            self._metrics.count_request(_route(scope), scope["method"], status, seconds)
            self._journal.log_request(scope, _route(scope), status, seconds)


class Deadline:
    """The time by which a request must be answered, counted from the arrival of its head.

    The header may ask for ``config.max_ms`` at most, or for the default where that is longer.
    """

    def __init__(self, request: Request, given_ms: int | None, default_ms: int, config: DeadlineConfig) -> None:
        limit_ms = default_ms if given_ms is None else min(given_ms, max(config.max_ms, default_ms))
        self._due_s = float(request.state.start_s) + limit_ms / 1e3

    def remaining_s(self) -> float:
        """Return the seconds that are left; never below 0."""
        return max(0.0, self._due_s - perf_counter())


def is_utf8(raw_path: bytes) -> bool:
    """Return whether a percent-decoded path is UTF-8; the server replaces other bytes, which would change an id."""
    try:
        unquote_to_bytes(raw_path.partition(b"?")[0]).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def new_request_id() -> str:
    """Return an id that no other request has. None is taken from a client: it could name a user in a journal."""
    return os.urandom(16).hex()


def client_name(scope: Scope) -> str:
    """Return who shares places as one: the name of the key, or without keys the address."""
    address = scope.get("client")
    return scope.get("state", {}).get("key") or (address[0] if address else "")


def _route(scope: Scope) -> str:
    """Return the pattern of the path, never an id; all unknown paths share the name ``none``."""
    route: str = scope["state"].get("route") or getattr(scope.get("route"), "path", "none")
    return route
