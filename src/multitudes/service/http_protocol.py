"""The server's HTTP protocol, with what uvicorn's lacks: bounds of heads, of idle connections and of unread answers.

Trials of ``reliability`` show what happens without: ``halfopen`` without the bounds of heads and idle connections,
``unread`` and ``batches`` without those of answers, ``overload`` without the early rejections.
"""

import asyncio
import sys
from functools import partial
from typing import Any, Final

import httptools
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from multitudes.service.load_shedding import LoadShedder, Rejection
from multitudes.service.unsent_answers import MeasuredTransport, UnsentAnswers

SHEDDER: Final = "shedder"  # where the state of the application holds the ``LoadShedder``
MAX_HEAD_BYTES: Final = 65_536
_CHUNK_BYTES: Final = 65_536  # of an answer; the server waits when a connection has as many unsent bytes
_SHED_EARLY: Final = {b"/v1/recommend": 0.0, b"/v1/recommend/batch": 0.1, b"/v1/events": 0.1}  # and seconds of a pause
_UNUSUAL: Final = frozenset({b"expect", b"upgrade"})


class _Rejected:
    """What the server knows of the last request of a connection, if that was rejected: it is over."""

    response_complete, keep_alive, disconnected = True, True, False
    message_event = asyncio.Event()  # nobody waits for it


class ServiceProtocol(HttpToolsProtocol):
    """The protocol of one connection.

    * More than ``MAX_HEAD_BYTES`` of a head or of chunked trailers end it with status 400; the server itself accepts
      any size. Bytes of one read are parsed before they are counted, so a head may exceed the limit by one read.
    * It closes if no request is complete within the time of a client. The server itself times a connection that is idle
      *after* an answer; one that sends half a head, or nothing, would stay for ever.
    * In an overload most requests are rejected, and ``LoadSheddingMiddleware`` takes 1.8 times the processor time for
      it. So the ``LoadShedder`` is asked here first; what is unusual is left to the middleware. After a rejected batch
      or events nothing is read for a moment, else who ignores ``retry-after`` takes all the time of the processor.
    * The server holds an answer in memory until its client reads it. So an answer is written in chunks, each when the
      one before it has left: a connection holds one answer at most, and two chunks of the one before.
    """

    transport: Any  # a ``MeasuredTransport``
    cycle: Any  # the request that is being answered, or the last one; None: no request yet
    scope: Any

    def __init__(self, *given: Any, unsent: UnsentAnswers, **options: Any) -> None:  # noqa: ANN401
        """Create the protocol of a connection; all but ``unsent``, that of the process, are the server's arguments."""
        super().__init__(*given, **options)
        self.app: Any = partial(self._answer, self.app)
        self._unsent = unsent
        self._data = b""  # that is being parsed
        self._head_bytes = 0  # since the last piece of a body or the end of a request
        self._reads_again = False  # what asked for another protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Watch the connection."""
        super().connection_made(transport)
        self.transport = MeasuredTransport(transport)
        self._unsent.add(self.transport)
        self._check_idle_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._unsent.remove(self.transport)
        super().connection_lost(exc)

    def _check_idle_later(self) -> None:
        self.loop.call_later(self._unsent.client_s, self.close_if_idle, self.cycle)

    def close_if_idle(self, last_cycle: object) -> None:
        """Close if no request came since the last check, whose request is given; otherwise check again later."""
        if self.transport.is_closing():
            return
        server_times_it = self.timeout_keep_alive_task is not None
        if self.cycle is last_cycle and not self._is_answering() and not server_times_it:
            self.transport.close()
        else:
            self._check_idle_later()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, and end the connection if the head is too large."""
        self._head_bytes, self._data = self._head_bytes + len(data), data
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The head of the request is larger than {MAX_HEAD_BYTES:,} bytes; send less.")

    def _should_upgrade(self) -> bool:
        return True  # to ``handle_websocket_upgrade``, which is called when the head has been read

    def handle_websocket_upgrade(self) -> None:
        """Read the request again as one that asks for no other protocol; the parser takes it to have no body.

        CONNECT always asks. It is rejected, as is a further one of the same read: the stack would fill up.
        """
        if self._reads_again:
            self.send_400_response("CONNECT, or several requests at once that ask for another protocol; send neither.")
            return
        unread = self._data[sys.exception().args[0] :]  # type: ignore[union-attr]
        closes = any(b"close" in value.lower() for name, value in self.headers if name == b"connection")
        own = [header for header in self.headers if header[0] not in {b"connection", b"upgrade"}]
        head = b"".join(b"%b: %b\r\n" % header for header in [*own, *([(b"connection", b"close")] if closes else [])])
        first = f"{self.scope['method']} {self.url.decode()} HTTP/{self.scope['http_version']}\r\n"
        self.parser = httptools.HttpRequestParser(self)
        self._reads_again = True
        self.data_received(first.encode() + head + b"\r\n" + unread)
        self._reads_again = False

    def on_body(self, body: bytes) -> None:
        """Restart the count of a head at a piece of a body."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Restart the count of a head at the end of a request."""
        self._head_bytes = 0
        super().on_message_complete()

    def on_headers_complete(self) -> None:
        """Reject the request, or start to answer it; its trailers are read into a list of their own, and ignored."""
        self.headers = list(self.headers)
        rejection = self._rejection() if self.url in _SHED_EARLY and self.parser.get_method() == b"POST" else None
        if rejection is None:
            super().on_headers_complete()
            return
        head = b"".join(b"%b: %b\r\n" % header for header in self.server_state.default_headers)
        answer = b"HTTP/1.1 429 Too Many Requests\r\n%b%b" % (head, rejection.to_bytes())
        self.cycle = _Rejected()  # the server skips the body of a request that is over
        self._unsent.reserve(len(answer), self.loop.time())
        self.transport.write(answer)
        if rejection.closes:
            self.transport.close()
        self.on_response_complete()
        if (pause_s := _SHED_EARLY[self.url]) > 0:
            self.flow.pause_reading()
            self.loop.call_later(pause_s, self.flow.resume_reading)

    def _rejection(self) -> Rejection | None:
        shedder: LoadShedder | None = self.app_state.get(SHEDDER)
        goes_on = self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
        is_busy = self._is_answering() or self.flow.write_paused or self.transport.is_closing()
        if shedder is None or is_busy or not goes_on:
            return None
        headers = dict(self.headers)
        names_client = b"x-forwarded-for" in headers and shedder.tells_clients_by_address
        if names_client or not _UNUSUAL.isdisjoint(headers):
            return None
        self.scope.update(method="POST", path=self.url.decode())
        return shedder.reject_early(self.scope)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    async def _answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_chunks(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.transport.hold()
                await send(message)
                return
            body = message.get("body", b"")
            self._unsent.reserve(len(body), self.loop.time())
            if len(body) <= _CHUNK_BYTES:
                await send(message)
                self.transport.flush()  # the head of an answer without a body
                return
            self.transport.answer_bytes = len(body)
            try:
                for start in range(0, len(body), _CHUNK_BYTES):
                    end = start + _CHUNK_BYTES
                    more_body = end < len(body) or message.get("more_body", False)
                    await send({**message, "body": body[start:end], "more_body": more_body})
            finally:
                self.transport.answer_bytes = 0

        await app(scope, receive, send_in_chunks)
