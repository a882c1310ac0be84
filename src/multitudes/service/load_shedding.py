"""The crowd in the service, and whether one more may come in: decided before anything of a request is read.

By Little's law a request is inside as long as all who are there take to come out: their number, times the seconds from
one to the next. So nobody comes in who would be late, whatever holds the others up: the loop, the engine, or another
program. What is turned away here costs a small part of an answer; what ``admission`` refuses has been read by then, and
its user looked up.
"""

from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from multitudes.service.admission import OVERLOADED, AdmissionConfig, Priority
from multitudes.service.errors import ApiError, error_response
from multitudes.service.metrics import Metrics
from multitudes.service.request_context import DEADLINE_HEADER, time_limit_s
from multitudes.service.settings import ServeConfig

_PRIORITY: Final[dict[str, Priority]] = {"/v1/recommend": "interactive", "/v1/recommend/batch": "batch"}
_ADMITTED_BATCHES: Final = 2  # of the engine, for which there is always place: one is answered while the other gathers
_DECAY: Final = 0.99  # of older measurements with each new one; they come in bunches, of which this is several


class InFlightRequests:
    """Who is inside, and how fast they come out; of one event loop. All of it is arithmetic: the time is passed in."""

    def __init__(self, config: AdmissionConfig, always_admitted: int) -> None:
        """Begin with nobody; for ``always_admitted`` there is always place."""
        self._config, self._always_admitted = config, always_admitted
        self._in_flight = 0
        self._last_change_s = 0.0  # when the last one came out, or the first one in
        self._total_s = self._completed = 0.0  # fading sums

    def enter(self, now_s: float) -> None:
        """Count one in."""
        if not self._in_flight:
            self._last_change_s = now_s
        self._in_flight += 1

    def leave(self, now_s: float, priority: Priority) -> None:
        """Count one out; a batch takes as long as it is large, which says nothing of others."""
        self._in_flight -= 1
        if priority == "interactive":
            self._total_s = _DECAY * self._total_s + now_s - self._last_change_s
            self._completed = _DECAY * self._completed + 1
        self._last_change_s = now_s

    def excess_s(self, priority: Priority, time_limit_s: float) -> float:
        """Return by how much one more would be inside too long; not above 0: it may come in.

        Args:
            priority: batch work comes in only while those who wait themselves have time to spare.
            time_limit_s: that an interactive request has.
        """
        if self._in_flight < self._always_admitted:
            return 0.0
        share = self._config.load_shedding_share * (self._config.batch_share if priority == "batch" else 1.0)
        return (self._in_flight + 1) * self._total_s / max(self._completed, 1.0) - share * time_limit_s


def in_flight_requests(settings: ServeConfig) -> InFlightRequests:
    """Return the crowd of a service that begins."""
    return InFlightRequests(settings.admission, _ADMITTED_BATCHES * settings.engine.batch)


def LoadSheddingMiddleware(app: ASGIApp, crowd: InFlightRequests, settings: ServeConfig, measures: Metrics) -> ASGIApp:
    """Return the app behind a door that is shut to recommendations while there is no time for them.

    Args:
        app: what is behind it.
        crowd: who is inside, counted by ``InFlightMiddleware``.
        settings: of the service.
        measures: who is turned away is counted there.
    """
    deadlines = settings.deadlines

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        priority = _priority(scope)
        if priority is None:
            await app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(DEADLINE_HEADER, b"")[:10] if priority == "interactive" else b""
        time_s = time_limit_s(int(given) if given.isdigit() else None, deadlines.default_ms, deadlines)
        excess_s = crowd.excess_s(priority, time_s)
        if excess_s <= 0:
            await app(scope, receive, send)
            return
        measures.count_shed(priority, "door")
        scope["state"]["route"] = scope["path"]
        # The server reads past a body that nobody took, and the connection serves on; but not past one without end.
        length = headers.get(b"content-length", b"")
        endless = not length.isdigit() or int(length[:20]) > settings.http.body_bytes
        response = error_response(ApiError(429, OVERLOADED, excess_s), scope["state"]["request_id"], close=endless)
        await response(scope, receive, send)

    return run


def InFlightMiddleware(app: ASGIApp, crowd: InFlightRequests, clock: Callable[[], float]) -> ASGIApp:
    """Return the app, and count who is in it. It stands behind the bound of bodies: who sends slowly takes no place."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        priority = _priority(scope)
        if priority is None:
            await app(scope, receive, send)
            return
        crowd.enter(clock())
        try:
            await app(scope, receive, send)
        finally:
            crowd.leave(clock(), priority)

    return run


def _priority(scope: Scope) -> Priority | None:
    """Return who gives way; None: this is never turned away."""
    return _PRIORITY.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
