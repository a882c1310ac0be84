"""Rejections of an overload at their lowest cost: in the HTTP protocol, with one write.

Most of what arrives in an overload is rejected, so a rejection may cost only a small part of an answer. Here it starts
no task and passes no middleware. ``load_shedding`` decides, as it does for the middleware; whatever is unusual (another
path, a key that is not valid, a body without a length) goes on to the middlewares, which answer as they always do.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final

import orjson

from multitudes.service.admission import OVERLOADED
from multitudes.service.auth import bearer_token, check_host
from multitudes.service.dependencies import Dependencies
from multitudes.service.errors import ApiError, error_response
from multitudes.service.load_shedding import LoadShedder, can_be_skipped
from multitudes.service.request_context import SECURITY_HEADERS, request_id_of
from multitudes.service.unsent_answers import UnsentLimitProtocol

HeaderList = Sequence[tuple[bytes, bytes]]
REJECTIONS: Final = "early_rejections"  # where the state of the application holds them
_ROUTE: Final = "/v1/recommend"
_UNUSUAL: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade"})
_FORWARDED: Final = b"x-forwarded-for"  # the server reads the client's address from it
_LOG_INTERVAL_S: Final = 1.0
_BODY_START, _BODY_END = bytes(error_response(ApiError(429, OVERLOADED), "ID").body).split(b'"ID"')
_STATUS_LINE: Final = b"HTTP/1.1 429 Too Many Requests\r\n"
_HEADERS: Final = [(b"content-type", b"application/json"), *SECURITY_HEADERS]


class EarlyRejections:
    """Rejects recommendation requests from their heads alone. Not thread-safe: used in the event loop."""

    def __init__(
        self, deps: Dependencies, shedder: LoadShedder, own_hosts: frozenset[str] | None, clock: Callable[[], float]
    ) -> None:
        """Reject what the middlewares would reject for want of time.

        Args:
            deps: what the routes work with.
            shedder: decides whether there is time.
            own_hosts: as for ``AuthMiddleware``.
            clock: any steady clock, in seconds.
        """
        self._deps, self._shedder, self._own_hosts, self._clock = deps, shedder, own_hosts, clock
        self._count_one, self._unlogged, self._next_log_s = deps.metrics.unread_counter(_ROUTE), 0, 0.0
        self._server_headers: HeaderList | None = None
        self._head = b""

    def reject(self, header_list: HeaderList, address: str, server_headers: HeaderList) -> bytes | None:
        """Return the answer to a request of the route; None: it goes on to the middlewares.

        Args:
            header_list: of the request, with names in lower case.
            address: of the client.
            server_headers: that the server adds to each answer.
        """
        if not self._shedder.in_flight.is_full:
            return None
        headers = dict(header_list)
        if not can_be_skipped(headers, self._deps.settings.http.body_bytes) or not _UNUSUAL.isdisjoint(headers):
            return None
        client = self._client(header_list, headers, address)
        if client is None:
            return None
        retry_after_s = self._shedder.retry_after_s(headers, "interactive", client)
        if retry_after_s is None:
            return None
        self._count()
        request_id = request_id_of(headers)
        body = _BODY_START + orjson.dumps(request_id) + _BODY_END
        retry_s = max(1, ceil(retry_after_s))
        values = self._fixed_head(server_headers), retry_s, request_id.encode(), len(body), body
        return b"%bretry-after: %d\r\nx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b" % values

    def _fixed_head(self, server_headers: HeaderList) -> bytes:
        """Return the part of the head that all rejections share; the server makes its headers anew each second."""
        if server_headers is not self._server_headers:
            lines = [b"%b: %b\r\n" % header for header in [*server_headers, *_HEADERS]]
            self._server_headers, self._head = server_headers, b"".join([_STATUS_LINE, *lines])
        return self._head

    def _client(self, header_list: HeaderList, headers: dict[bytes, bytes], address: str) -> str | None:
        """Return who sends a request, by which its places are counted; None: the middlewares find out."""
        try:
            check_host(header_list, self._own_hosts)
        except ApiError:
            return None
        if self._deps.keys is None:
            return None if _FORWARDED in headers else address
        key = self._deps.keys.find(bearer_token(headers))
        if key is None or key.is_expired(datetime.now(UTC)) or not key.allows("recommend"):
            return None
        if self._deps.access_records is not None:
            self._deps.access_records.record_use(key.name)
        return key.name

    def _count(self) -> None:
        self._count_one()
        self._unlogged += 1
        now_s = self._clock()
        if now_s >= self._next_log_s:
            self._deps.journal.log_rejections(_ROUTE, self._unlogged)
            self._unlogged, self._next_log_s = 0, now_s + _LOG_INTERVAL_S


class _Rejected:
    """What the server knows of the last request of a connection, if that was rejected: it is over."""

    response_complete, keep_alive, disconnected = True, True, False

    def __init__(self) -> None:
        self.message_event = asyncio.Event()


class EarlyRejectionProtocol(UnsentLimitProtocol):
    """The server's protocol, which asks ``EarlyRejections`` before it starts to answer a request."""

    def on_headers_complete(self) -> None:
        """Reject the request, or go on."""
        answer = self._rejection() if self.url == _ROUTE.encode() and self.parser.get_method() == b"POST" else None
        if answer is None:
            super().on_headers_complete()
            return
        self.cycle: Any = _Rejected()  # the server skips the body of a request that is over
        self.write_whole(answer)
        self.on_response_complete()

    def _rejection(self) -> bytes | None:
        rejections: EarlyRejections | None = self.app_state.get(REJECTIONS)
        is_answering = self.cycle is not None and not self.cycle.response_complete
        goes_on = self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
        if rejections is None or is_answering or not goes_on or self.flow.write_paused or self.transport.is_closing():
            return None
        address = self.client[0] if self.client else ""
        return rejections.reject(self.headers, address, self.server_state.default_headers)
