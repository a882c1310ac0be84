"""Rejections of an overload at their lowest cost: in the HTTP protocol, with one write.

Most of what arrives in an overload is rejected, and ``LoadSheddingMiddleware`` alone takes 1.8 times the processor time
for it: trial ``overload`` needs this. ``LoadShedder`` decides and answers, here as there; what is unusual is left to
the middleware.
"""

import asyncio
from typing import Any, Final

from starlette.responses import Response

from multitudes.service.load_shedding import LoadShedder
from multitudes.service.unsent_answers import UnsentLimitProtocol

SHEDDER: Final = "shedder"  # where the state of the application holds the ``LoadShedder``
_ROUTE: Final = "/v1/recommend"
_UNUSUAL: Final = frozenset({b"expect", b"upgrade", b"x-forwarded-for"})  # the last may name the client


class _Rejected:
    """What the server knows of the last request of a connection, if that was rejected: it is over."""

    response_complete, keep_alive, disconnected = True, True, False

    def __init__(self) -> None:
        self.message_event = asyncio.Event()


class EarlyRejectionProtocol(UnsentLimitProtocol):
    """The server's protocol, which asks the ``LoadShedder`` before it starts to answer a request."""

    def on_headers_complete(self) -> None:
        """Reject the request, or go on."""
        response = self._rejection() if self.url == _ROUTE.encode() and self.parser.get_method() == b"POST" else None
        if response is None:
            super().on_headers_complete()
            return
        headers = [*self.server_state.default_headers, *response.raw_headers]
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.cycle: Any = _Rejected()  # the server skips the body of a request that is over
        self.write_whole(b"HTTP/1.1 429 Too Many Requests\r\n%b\r\n%b" % (head, bytes(response.body)))
        if "connection" in response.headers:
            self.transport.close()
        self.on_response_complete()

    def _rejection(self) -> Response | None:
        shedder: LoadShedder | None = self.app_state.get(SHEDDER)
        is_answering = self.cycle is not None and not self.cycle.response_complete
        goes_on = self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
        if shedder is None or is_answering or not goes_on or self.flow.write_paused or self.transport.is_closing():
            return None
        if not _UNUSUAL.isdisjoint(name for name, _ in self.headers):
            return None
        return shedder.reject({**self.scope, "method": "POST", "path": _ROUTE})
