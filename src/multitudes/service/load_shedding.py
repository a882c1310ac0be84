"""Load shedding: requests that would miss their deadline are rejected before their body is read.

By Little's law, a request stays in the service for the number of requests in flight times the mean seconds between two
completions, whether the event loop, the engine or another program causes the delay. A request that would stay too
long is answered with 429 at once, which costs a fraction of an answer: trial ``overload`` needs it, and trial
``shares`` that clients share the places. ``admission`` decides later, when the body has been read and the user has been
looked up, how much of the method there is time for.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import uniform
from time import monotonic
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multitudes.service.admission import OVERLOADED, AdmissionConfig, Priority
from multitudes.service.auth import bearer_token, check_host
from multitudes.service.engine import EngineConfig
from multitudes.service.errors import ApiError, error_response
from multitudes.service.request_context import DEADLINE_HEADER, SECURITY_HEADERS, client_name, new_request_id
from multitudes.service.startup import Dependencies

_PRIORITY: Final[dict[str, Priority]] = {
    "/v1/recommend": "interactive",
    "/v1/recommend/batch": "batch",
    "/v1/vectors": "interactive",
}
_ALWAYS_ADMITTED: Final = 2 * EngineConfig().batch  # requests: the engine answers a batch while the next one fills
_OVERFILL: Final = 1.5  # with requests of clients below their share, until those above theirs are answered
_ACTIVE_S: Final = 5.0  # after its last request, a client still counts as one that shares the places
_INTERVAL_S: Final = 1.0
_MAX_RETRY_S: Final = 30.0  # that a client is asked to wait beyond the time by which its request was late
_DECAY: Final = 0.99  # of older measurements at each new one; this averages the bunches in which completions come


@dataclass
class _Client:
    """The requests of one client in flight, and when it last sent one."""

    in_flight: Counter[Priority] = field(default_factory=Counter)
    last_s: float = 0.0


class InFlightRequests:
    """The requests in flight in one event loop by client, and the mean time between two completions.

    Clients share the places in flight equally: one that has more than its share is admitted only where places are
    free, one that has less also where they are taken by those that have more. So a client gets what it asks for, up to
    its share, whatever the others send. Pure arithmetic: callers pass the time in.
    """

    def __init__(self, config: AdmissionConfig | None = None, always_admitted: int = _ALWAYS_ADMITTED) -> None:
        """Start empty; below ``always_admitted`` requests in flight, none is rejected."""
        self._config, self._always_admitted = config or AdmissionConfig(), always_admitted
        self._in_flight, self._clients = Counter[Priority](), dict[str, _Client]()
        self._last_change_s = 0.0  # the last completion, or the first arrival after the service was empty
        self._total_s = self._completed = self._rejected = 0.0  # decaying sums
        self._next_count_s = 0.0  # when clients that left are dropped

    def __len__(self) -> int:
        """Return the number of requests in flight."""
        return self._in_flight.total()

    def enter(self, now_s: float, priority: Priority = "interactive", client: str = "") -> None:
        """Count an arrival."""
        if not len(self):
            self._last_change_s = now_s
        self._in_flight[priority] += 1
        self._seen(client, now_s).in_flight[priority] += 1

    def leave(self, now_s: float, priority: Priority, client: str = "") -> None:
        """Count a completion; that of a batch is not timed, since it depends on the size of the batch."""
        self._in_flight[priority] -= 1
        self._seen(client, now_s).in_flight[priority] -= 1
        if priority == "interactive":
            self._total_s = _DECAY * self._total_s + now_s - self._last_change_s
            self._completed = _DECAY * self._completed + 1
            self._rejected *= _DECAY
        self._last_change_s = now_s

    def excess_s(self, priority: Priority, time_limit_s: float, client: str = "", now_s: float = 0.0) -> float:
        """Return the seconds by which one more request would exceed its time; 0 or less: admit it.

        Batch requests are admitted only while interactive ones have time to spare.
        """
        own, clients = self._seen(client, now_s).in_flight[priority], self._active_clients(now_s)
        if priority == "batch":
            if clients > 1 and own > 0 and (own + 1) * clients > self._in_flight["batch"] + 1:
                return _INTERVAL_S  # it has more than its share of the batches
            return self._excess_s(len(self), self._config.batch_share * time_limit_s)
        before = self._in_flight["interactive"]  # waiting batches delay no interactive request
        excess_s = self._excess_s(before, time_limit_s)
        if excess_s <= 0 or clients == 1:
            return excess_s
        is_below_share = own == 0 or self._excess_s((own + 1) * clients - 1, time_limit_s) <= 0
        return self._excess_s(int(before / _OVERFILL), time_limit_s) if is_below_share else excess_s

    @property
    def is_full(self) -> bool:
        """Whether a further request may be rejected."""
        return len(self) >= self._always_admitted

    def reject(self, excess_s: float) -> float:
        """Count a rejection, and return the seconds after which to send the request again.

        The more requests were rejected for each that was answered, the later clients are asked to come again, at
        moments drawn at random: else all of them would come at once, and most be rejected again.
        """
        rejections_per_answer = self._rejected / max(self._completed, 1.0)
        self._rejected += 1
        return excess_s + uniform(0.0, min(2 * rejections_per_answer, _MAX_RETRY_S))

    def _excess_s(self, before: int, time_limit_s: float) -> float:
        """Return the seconds by which a request behind ``before`` others would exceed its time."""
        if before < self._always_admitted:
            return 0.0
        mean_s = self._total_s / max(self._completed, 1.0)
        return (before + 1) * mean_s - self._config.load_shedding_share * time_limit_s

    def _seen(self, client: str, now_s: float) -> _Client:
        seen = self._clients.setdefault(client, _Client())
        seen.last_s = max(seen.last_s, now_s)
        return seen

    def _active_clients(self, now_s: float) -> int:
        """Return how many clients share the places: those with a request in flight, or one a moment ago."""
        if now_s >= self._next_count_s:
            self._next_count_s = now_s + _INTERVAL_S
            left = now_s - _ACTIVE_S
            self._clients = {
                name: one for name, one in self._clients.items() if one.last_s >= left or one.in_flight.total()
            }
        return len(self._clients)


class LoadShedder:
    """Decides from its head whether there is time for a recommendation request, and answers it where there is none.

    In an overload most of what arrives is rejected, so a rejection may cost only a small part of an answer: its metrics
    are looked up once, and it shares a line of the journal with the others of its second.
    """

    def __init__(self, deps: Dependencies, in_flight: InFlightRequests, own_hosts: frozenset[str] | None) -> None:
        """Decide by what ``InFlightMiddleware`` counts; ``AuthMiddleware`` answers wrong keys and hosts."""
        self._deps, self._in_flight, self._own_hosts = deps, in_flight, own_hosts
        self._counters = {path: deps.metrics.unread_counter(path, work) for path, work in _PRIORITY.items()}
        self._unlogged, self._next_log_s = Counter[str](), dict[str, float]()

    def reject(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is rejected; None: it goes on."""
        priority = _priority(scope) if self._in_flight.is_full else None
        if priority is None:
            return None
        headers = dict(scope["headers"])
        client = self._client(scope, headers)
        if client is None:
            return None
        now_s = monotonic()
        excess_s = self._in_flight.excess_s(priority, self._time_limit_s(headers, priority), client, now_s)
        if excess_s <= 0:
            return None
        path = scope["path"]
        self._counters[path]()
        self._unlogged[path] += 1
        if now_s >= self._next_log_s.get(path, 0.0):
            self._deps.journal.log_rejections(path, self._unlogged.pop(path))
            self._next_log_s[path] = now_s + _INTERVAL_S
        error = ApiError(429, OVERLOADED, self._in_flight.reject(excess_s))
        # The server skips an unread body and keeps the connection, unless the body has no end or is too large.
        length = headers.get(b"content-length", b"")
        close = not length.isdigit() or int(length[:20]) > self._deps.settings.http.body_bytes
        request_id = new_request_id()
        response = error_response(error, request_id, close=close)
        response.raw_headers += [*SECURITY_HEADERS, (b"x-request-id", request_id.encode())]
        return response

    def _time_limit_s(self, headers: Mapping[bytes, bytes], priority: Priority) -> float:
        """Return the time that decides about a request: a longer deadline than the default gives no more places."""
        deadlines = self._deps.settings.deadlines
        default_ms = deadlines.batch_ms if priority == "batch" else deadlines.default_ms
        given = headers.get(DEADLINE_HEADER, b"")[:10] if priority == "interactive" else b""
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
        if key is None or key.is_expired or not key.allows("recommend"):
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
        await (self._shedder.reject(scope) or self._app)(scope, receive, send)


class InFlightMiddleware:
    """Counts the recommendation requests in flight; it runs after the body has been read."""

    def __init__(self, app: ASGIApp, in_flight: InFlightRequests) -> None:
        self._app, self._in_flight = app, in_flight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count it until its answer exists; a client that reads slowly delays no other."""
        priority = _priority(scope)
        if priority is None:
            await self._app(scope, receive, send)
            return
        is_inside, client = True, client_name(scope)
        self._in_flight.enter(monotonic(), priority, client)

        def leave() -> None:
            nonlocal is_inside
            if is_inside:
                is_inside = False
                self._in_flight.leave(monotonic(), priority, client)

        async def leave_and_send(message: Message) -> None:
            leave()
            await send(message)

        try:
            await self._app(scope, receive, leave_and_send)
        finally:
            leave()


def _priority(scope: Scope) -> Priority | None:
    """Return the priority of a recommendation request; None for other requests, which are never rejected here."""
    return _PRIORITY.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
