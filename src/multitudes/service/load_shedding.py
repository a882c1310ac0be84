"""Load shedding: requests that would miss their deadline are rejected before their body is read.

A request that would stay too long, or whose client has its share (``in_flight``), is answered with 429 at once, which
costs a fraction of an answer: ``reliability/overload.py``. ``admission`` decides later, when the body has been read and
the user has been looked up, how much of the method there is time for.
"""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from math import ceil
from time import monotonic
from typing import Final, NamedTuple

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from multitudes.service.auth import bearer_token, check_host, required_scope
from multitudes.service.errors import ApiError, error_response
from multitudes.service.in_flight import MESSAGES, Work
from multitudes.service.request_context import DEADLINE_HEADER, SECURITY_HEADERS, client_name, new_request_id
from multitudes.service.startup import Dependencies

_WORK: Final[dict[str, tuple[str, Work]]] = {  # of a route: its method and its kind of work
    "/v1/recommend": ("POST", "interactive"),
    "/v1/vectors": ("POST", "interactive"),
    "/v1/items/{id:path}/similar": ("GET", "interactive"),
    "/v1/recommend/batch": ("POST", "batch"),
    "/v1/events": ("POST", "events"),
    "/v1/users/{id:path}": ("PUT", "events"),
}
_PREFIXES: Final = {route.partition("{")[0]: route for route in _WORK if "{" in route}
_INTERVAL_S: Final = 1.0  # between two lines of the journal


class Rejection(NamedTuple):
    """The response 429 to a request."""

    work: Work
    retry_after_s: int
    closes: bool  # the connection ends, since what is left of the body is not read

    def response(self) -> Response:
        """Return the response."""
        request_id = new_request_id()
        error = ApiError(429, MESSAGES[self.work], self.retry_after_s)
        response = error_response(error, request_id, close=self.closes)
        response.raw_headers += [*SECURITY_HEADERS, (b"x-request-id", request_id.encode())]
        return response

    def to_bytes(self) -> bytes:
        """Return its headers and its body; most are alike, so only the request id is written anew."""
        alike, request_id = _headers_and_body(self)
        return alike.replace(request_id, new_request_id().encode())


@lru_cache(1_024)
def _headers_and_body(rejection: Rejection) -> tuple[bytes, bytes]:
    """Return the bytes of a response, and the request id within them."""
    response = rejection.response()
    headers = b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
    return b"%b\r\n%b" % (headers, bytes(response.body)), dict(response.raw_headers)[b"x-request-id"]


class LoadShedder:
    """Decides from the head of a request whether there is time for it, and answers it where there is none.

    In an overload most of what arrives is rejected, so a rejection may cost only a small part of an answer: its metrics
    are looked up once, and it shares a line of the journal with the others of its second.
    """

    def __init__(self, deps: Dependencies, own_hosts: frozenset[str] | None) -> None:
        """Decide by what ``RequestLimitsMiddleware`` counts; ``AuthMiddleware`` answers wrong keys and hosts."""
        self._deps, self._in_flight, self._own_hosts = deps, deps.in_flight, own_hosts
        self.tells_clients_by_address = deps.keys is None
        self._counters = {route: deps.metrics.unread_counters(route, *one) for route, one in _WORK.items()}
        self._unlogged, self._next_log_s = Counter[str](), dict[str, float]()

    def reject(self, scope: Scope) -> Rejection | None:
        """Return the answer to a request that is rejected; None: it goes on."""
        admitted = scope.get("state", {}).pop("admitted", None)
        if admitted is None:
            return self.reject_early(scope, counts=False)
        self._in_flight.leave(monotonic(), "interactive", admitted, comes_again=True)  # its task reads the body
        return None

    def reject_early(self, scope: Scope, *, counts: bool = True) -> Rejection | None:
        """Decide before a task is made: many heads are read before the first begins, so what is admitted ``counts``."""
        route, work = route_and_work(scope)
        if work is None or (work == "interactive" and not counts and not self._in_flight.is_full):
            return None
        headers, now_s = dict(scope["headers"]), monotonic()
        client = self._client(scope, headers)
        if client is None:
            return None
        excess_s = self._in_flight.excess_s(work, self._time_limit_s(headers, work), client, now_s)
        if excess_s <= 0:
            if counts and work == "interactive":
                self._in_flight.enter(now_s, work, client)
                scope["state"]["admitted"] = client
            return None
        for counter in self._counters[route]:
            counter.inc()
        self._unlogged[route] += 1
        if now_s >= self._next_log_s.get(route, 0.0):
            self._deps.journal.log_rejections(route, self._unlogged.pop(route))
            self._next_log_s[route] = now_s + _INTERVAL_S
        retry_after_s = excess_s if work == "events" else self._in_flight.reject(excess_s)
        # The server skips an unread body and keeps the connection, unless the body has no end or is too large.
        length = headers.get(b"content-length", b"")
        closes = not length.isdigit() or int(length[:20]) > self._deps.settings.http.body_bytes
        return Rejection(work, ceil(retry_after_s), closes)

    def _time_limit_s(self, headers: Mapping[bytes, bytes], work: Work) -> float:
        """Return the time that decides about a request: a longer deadline than the default gives no more places."""
        deadlines = self._deps.settings.deadlines
        default_ms = deadlines.batch_ms if work == "batch" else deadlines.default_ms
        given = headers.get(DEADLINE_HEADER, b"")[:10] if work == "interactive" else b""
        return min(int(given), default_ms) / 1e3 if given.isdigit() else default_ms / 1e3

    def _client(self, scope: Scope, headers: Mapping[bytes, bytes]) -> str | None:
        """Return who shares the places as one: the name of the key, or without keys the address."""
        deps = self._deps
        try:
            check_host(scope["headers"], self._own_hosts)
        except ApiError:
            return None
        if deps.keys is None:
            return client_name(scope)
        key = deps.keys.find(bearer_token(headers))
        needed = required_scope(scope["method"], scope["path"])
        if key is None or key.is_expired or not key.allows(needed):
            return None
        if deps.access_records is not None:
            deps.access_records.record_use(key.name)
        return key.name


class LoadSheddingMiddleware:
    """Answers what a ``LoadShedder`` rejects; it comes before all other middlewares."""

    def __init__(self, app: ASGIApp, shedder: LoadShedder) -> None:
        self._app, self._shedder = app, shedder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 429."""
        rejection = self._shedder.reject(scope)
        await (rejection.response() if rejection else self._app)(scope, receive, send)


def route_and_work(scope: Scope) -> tuple[str, Work | None]:
    """Return the route of a request and its kind of work; None: it is never rejected here."""
    path: str = scope["path"] if scope["type"] == "http" else ""
    route = next((_PREFIXES[prefix] for prefix in _PREFIXES if path.startswith(prefix)), path)
    method, work = _WORK.get(route, (None, None))
    return (route, work) if method == scope.get("method") else (route, None)
