"""Load shedding: requests that would miss their deadline are rejected before their body is read.

By Little's law, a request stays in the service for the number of requests in flight times the mean seconds between two
completions, whether the event loop, the engine or another program causes the delay. A request that would stay too
long is answered with 429 at once, which costs a fraction of an answer. ``admission`` decides later, when the body has
been read and the user has been looked up.
"""

from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multitudes.service.admission import OVERLOADED, AdmissionConfig, Priority
from multitudes.service.errors import ApiError, error_response
from multitudes.service.metrics import Metrics
from multitudes.service.request_context import DEADLINE_HEADER, time_limit_s
from multitudes.service.settings import ServeConfig

_PRIORITY: Final[dict[str, Priority]] = {"/v1/recommend": "interactive", "/v1/recommend/batch": "batch"}
_ADMITTED_BATCHES: Final = 2  # of the engine, always admitted: the engine answers one while the next one fills
_DECAY: Final = 0.99  # of older measurements at each new one; this averages the bunches in which completions come


class InFlightRequests:
    """The requests in flight in one event loop, and the mean time between two completions.

    Pure arithmetic: callers pass the time in.
    """

    def __init__(self, config: AdmissionConfig, always_admitted: int) -> None:
        """Start empty.

        Args:
            config: the share of its time that a request may be in flight.
            always_admitted: below this number of requests in flight, none is rejected.
        """
        self._config, self._always_admitted = config, always_admitted
        self._in_flight = 0
        self._last_change_s = 0.0  # the last completion, or the first arrival after the service was empty
        self._total_s = self._completed = 0.0  # decaying sums

    def enter(self, now_s: float) -> None:
        """Count an arrival."""
        if not self._in_flight:
            self._last_change_s = now_s
        self._in_flight += 1

    def leave(self, now_s: float, priority: Priority) -> None:
        """Count a completion; that of a batch is not timed, since it depends on the size of the batch."""
        self._in_flight -= 1
        if priority == "interactive":
            self._total_s = _DECAY * self._total_s + now_s - self._last_change_s
            self._completed = _DECAY * self._completed + 1
        self._last_change_s = now_s

    def excess_s(self, priority: Priority, time_limit_s: float) -> float:
        """Return the seconds by which one more request would exceed its time; 0 or less: admit it.

        Args:
            priority: batch requests are admitted only while interactive ones have time to spare.
            time_limit_s: the time that the request has.
        """
        if self._in_flight < self._always_admitted:
            return 0.0
        share = self._config.load_shedding_share * (self._config.batch_share if priority == "batch" else 1.0)
        return (self._in_flight + 1) * self._total_s / max(self._completed, 1.0) - share * time_limit_s


def in_flight_requests(settings: ServeConfig) -> InFlightRequests:
    """Return the counter of requests in flight, at 0."""
    return InFlightRequests(settings.admission, _ADMITTED_BATCHES * settings.engine.batch)


class LoadSheddingMiddleware:
    """Rejects recommendation requests that would miss their deadline, before their body is read."""

    def __init__(self, app: ASGIApp, in_flight: InFlightRequests, settings: ServeConfig, metrics: Metrics) -> None:
        """Wrap ``app``.

        Args:
            app: the next middleware.
            in_flight: the requests in flight, as ``InFlightMiddleware`` counts them.
            settings: of the service.
            metrics: count what is rejected.
        """
        self._app, self._in_flight, self._metrics = app, in_flight, metrics
        self._deadlines, self._body_bytes = settings.deadlines, settings.http.body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 429."""
        priority = _priority(scope)
        if priority is None:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        excess_s = self._in_flight.excess_s(priority, self._time_limit_s(headers, priority))
        if excess_s <= 0:
            await self._app(scope, receive, send)
            return
        self._metrics.count_shed(priority, "in_flight")
        scope["state"]["route"] = scope["path"]
        # The server skips an unread body and keeps the connection, unless the body has no end or is too large.
        length = headers.get(b"content-length", b"")
        close = not length.isdigit() or int(length[:20]) > self._body_bytes
        response = error_response(ApiError(429, OVERLOADED, excess_s), scope["state"]["request_id"], close=close)
        await response(scope, receive, send)

    def _time_limit_s(self, headers: dict[bytes, bytes], priority: Priority) -> float:
        given = headers.get(DEADLINE_HEADER, b"")[:10] if priority == "interactive" else b""
        return time_limit_s(int(given) if given.isdigit() else None, self._deadlines.default_ms, self._deadlines)


class InFlightMiddleware:
    """Counts the recommendation requests in flight; it runs after the body has been read."""

    def __init__(self, app: ASGIApp, in_flight: InFlightRequests, clock: Callable[[], float]) -> None:
        self._app, self._in_flight, self._clock = app, in_flight, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count it until its answer exists; a client that reads slowly delays no other."""
        priority = _priority(scope)
        if priority is None:
            await self._app(scope, receive, send)
            return
        is_inside = True
        self._in_flight.enter(self._clock())

        def leave() -> None:
            nonlocal is_inside
            if is_inside:
                is_inside = False
                self._in_flight.leave(self._clock(), priority)

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
