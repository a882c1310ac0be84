"""Limits on the size, the duration and the type of a body; from its end on, a request is counted as in flight.

Those of heads are in ``http_protocol``. ``reliability/access.py`` tries the limits, ``writers.py`` the count of events.
"""

import asyncio
from contextlib import ExitStack

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from multitudes.service.admission import OverloadError
from multitudes.service.errors import ApiError, error_response, to_api_error
from multitudes.service.in_flight import PLACE_BYTES, InFlightRequests, Work
from multitudes.service.load_shedding import route_and_work
from multitudes.service.metrics import Metrics
from multitudes.service.request_context import client_name
from multitudes.service.settings import HttpConfig

_METHODS_WITH_BODY = {"POST", "PUT", "PATCH"}
# Places of a request, and bytes for each further one. All events in flight are stored in some 0.2 s, those of two
# processes in twice that. A batch is counted when its users are known.
_PLACES: dict[Work, tuple[int, int]] = {"interactive": (1, PLACE_BYTES), "events": (4, 1 << 8)}


class RequestLimitsMiddleware:
    """Reads the body and passes it on whole; answers 413, 408 or 415 if it is too large, too slow or not JSON.

    Counts the request until its answer exists: a client that reads slowly delays no other. Events and followed topics
    get 429 before they are parsed, where more came at a time than may be stored.
    """

    def __init__(self, app: ASGIApp, http: HttpConfig, metrics: Metrics, in_flight: InFlightRequests) -> None:
        self._app, self._http, self._metrics, self._in_flight = app, http, metrics, in_flight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body, unless the client disconnects before the end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route, work = route_and_work(scope)
        with ExitStack() as held:
            try:
                body = await _read_within_limits(scope, receive, self._http)
                state = scope["state"]
                state["places"] = 0
                if work is not None and work in _PLACES:
                    least, place_bytes = _PLACES[work]
                    state["places"] = least + len(body) // place_bytes
                    held.enter_context(self._in_flight.hold(work, client_name(scope), state["places"]))
            except ClientDisconnect:
                return
            except (ApiError, OverloadError) as error:
                if isinstance(error, OverloadError):
                    self._metrics.shed.labels("events", error.reason).inc()
                    scope["state"]["route"] = route
                await error_response(to_api_error(error), scope["state"]["request_id"])(scope, receive, send)
                return

            async def leave_and_send(message: Message) -> None:
                held.close()  # at the first message; it has nothing to do at later ones
                await send(message)

            await self._app(scope, replay_body(body, receive), leave_and_send)


async def _read_within_limits(scope: Scope, receive: Receive, http: HttpConfig) -> bytes:
    """Return the body, or raise ``ApiError`` where it exceeds a limit; the limits hold even if headers are wrong."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length[:20]) > http.body_bytes:
        raise _too_large(http)
    chunks, size = list[bytes](), 0
    try:
        async with asyncio.timeout(http.client_s):
            async for chunk in Request(scope, receive).stream():
                size += len(chunk)
                if size > http.body_bytes:
                    raise _too_large(http)
                chunks.append(chunk)
    except TimeoutError:
        raise ApiError(408, f"the body did not arrive within {http.client_s:g} s; send it faster") from None
    content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if size and scope["method"] in _METHODS_WITH_BODY and content_type != b"application/json":
        raise ApiError(415, "the content type is not JSON; send the header content-type: application/json")
    return b"".join(chunks)


def _too_large(http: HttpConfig) -> ApiError:
    return ApiError(413, f"the body is larger than {http.body_bytes:,} bytes; send less in one request")


def replay_body(body: bytes, receive: Receive) -> Receive:
    """Return a receiver that yields the body once, and then the messages that the client sends next."""
    unsent: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_body_first() -> Message:
        return unsent.pop() if unsent else await receive()

    return receive_body_first
