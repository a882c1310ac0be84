"""Answers that clients do not read: a connection that stalls is ended, and the bytes of all together are bounded.

The server holds an answer in memory until its client reads it; even the end of a connection waits for that, without a
limit. So an answer is written in chunks, each when the one before it has left, and every second each connection is
checked for progress. A connection holds one answer at most, and two chunks of the one before. Trials ``unread`` and
``batches`` need it.
"""

import asyncio
import logging
import struct
from functools import partial
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, Final, NamedTuple, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

_CHUNK_BYTES: Final = 65_536  # of an answer; the server waits when a connection has as many unsent bytes
_INTERVAL_S: Final = 1.0
_RESET: Final = struct.pack("ii", 1, 0)  # the kernel waits 0 s for the client, and then resets the connection


class Connection(Protocol):
    """The part of a connection that ``UnsentAnswers`` reads."""

    def sent_bytes(self) -> int:
        """Return the bytes that the client's machine took since the connection began."""
        ...

    def unsent_bytes(self) -> int:
        """Return the bytes that wait for the client."""
        ...

    def abort(self) -> None:
        """End the connection at once, and drop its unsent bytes."""
        ...


class _Progress(NamedTuple):
    sent_bytes: int
    since_s: float  # when they were first seen


class UnsentAnswers:
    """The unsent bytes of all connections of one process. Not thread-safe: used in the event loop."""

    def __init__(self, max_stall_s: float = 10.0, max_bytes: int = 256 << 20) -> None:
        """Start without a connection.

        Args:
            max_stall_s: a connection that has unsent bytes and sends none for so many seconds is ended.
            max_bytes: unsent bytes of all connections; beyond it, those that sent nothing for the longest are ended.
        """
        self._max_stall_s, self._max_bytes = max_stall_s, max_bytes
        self._progress = dict[Connection, _Progress]()
        self._upper_bound = 0  # of the unsent bytes: those counted last, and all that was written since
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Connection) -> None:
        """Watch a connection; call this in the event loop."""
        self._progress[connection] = _Progress(0, asyncio.get_running_loop().time())
        if self._timer is None:
            self._schedule()

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self._progress.pop(connection, None)

    def reserve(self, size: int, now_s: float) -> None:
        """Make room for an answer of ``size`` bytes before it is written."""
        self._upper_bound += size
        if self._upper_bound > self._max_bytes:
            self.check(now_s)

    def check(self, now_s: float) -> None:
        """End the connections that stall, and then those that sent nothing for the longest, until the rest fits."""
        unsent = {connection: connection.unsent_bytes() for connection in self._progress}
        for connection, progress in self._progress.items():
            sent_bytes = connection.sent_bytes()
            if sent_bytes != progress.sent_bytes or not unsent[connection]:
                self._progress[connection] = _Progress(sent_bytes, now_s)
        self._upper_bound = sum(unsent.values())
        ended = 0
        for connection in sorted(unsent, key=lambda one: (self._progress[one].since_s, -unsent[one])):
            stalls = now_s - self._progress[connection].since_s >= self._max_stall_s
            if not stalls and self._upper_bound <= self._max_bytes:
                break
            if unsent[connection]:
                self._upper_bound -= unsent[connection]
                self.remove(connection)
                connection.abort()
                ended += 1
        if ended:
            logging.getLogger(__name__).warning("ended %d connections whose clients do not read their answers", ended)

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_INTERVAL_S, self._check_periodically)

    def _check_periodically(self) -> None:
        self._timer = None
        self.check(asyncio.get_running_loop().time())
        if self._progress:
            self._schedule()


class MeasuredTransport:
    """A transport that counts what is written, and ignores what is written after its end.

    The server writes the head of an answer apart from its body; ``hold`` makes one system call of the two.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.written_bytes = 0
        self._held, self._is_holding = b"", False

    def hold(self) -> None:
        """Keep the next bytes until others are written, or until ``flush``."""
        self._is_holding = True

    def write(self, data: bytes) -> None:
        """Write bytes."""
        data, self._held = self._held + data, b""
        if self._is_holding:
            self._held, self._is_holding = data, False
        elif not self._transport.is_closing():
            self.written_bytes += len(data)
            self._transport.write(data)

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            self.write(b"")

    def close(self) -> None:
        """Write what is held, and end the connection when it has left."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Return all else of the transport."""
        return getattr(self._transport, name)


class UnsentLimitProtocol(HttpToolsProtocol):
    """The server's protocol, which writes answers in chunks and reports its unsent bytes."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        unsent: UnsentAnswers | None = None,
    ) -> None:
        """Create the protocol of a connection; ``unsent`` is that of the process, by default one of its own."""
        super().__init__(config, server_state, app_state, _loop)
        self.app: Any = partial(self._answer, self.app)
        self._unsent = unsent or UnsentAnswers()
        self._answer_bytes = 0  # of the answer that is being written

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Watch the connection."""
        super().connection_made(transport)
        self.transport: Any = MeasuredTransport(transport)
        self._unsent.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._unsent.remove(self)
        super().connection_lost(exc)

    def sent_bytes(self) -> int:
        """Return the bytes that the client's machine took since the connection began."""
        written_bytes: int = self.transport.written_bytes
        return written_bytes - int(self.transport.get_write_buffer_size())

    def unsent_bytes(self) -> int:
        """Return the bytes that wait for the client."""
        return self._answer_bytes + int(self.transport.get_write_buffer_size())

    def abort(self) -> None:
        """End the connection at once, and drop its unsent bytes, those that the kernel holds too."""
        self.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
        self.transport.abort()

    def write_whole(self, answer: bytes) -> None:
        """Write a small answer at once."""
        self._unsent.reserve(len(answer), self.loop.time())
        self.transport.write(answer)

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
            self._answer_bytes = len(body)
            try:
                for start in range(0, len(body), _CHUNK_BYTES):
                    end = start + _CHUNK_BYTES
                    more_body = end < len(body) or message.get("more_body", False)
                    await send({**message, "body": body[start:end], "more_body": more_body})
            finally:
                self._answer_bytes = 0

        await app(scope, receive, send_in_chunks)
