"""Answers that clients do not read: a connection that stalls is ended, and the bytes of all together are bounded.

The server holds an answer in memory until its client reads it; even the end of a connection waits for that, without a
limit. So every second each connection is checked for progress: ``reliability/unread.py``, ``batches.py``.
"""

import asyncio
import logging
import struct
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, Final, NamedTuple

_INTERVAL_S: Final = 1.0
_RESET: Final = struct.pack("ii", 1, 0)  # the kernel waits 0 s for the client, and then resets the connection


class MeasuredTransport:
    """A transport that counts what is written, and ignores what is written after its end.

    The server writes the head of an answer apart from its body; ``hold`` makes one system call of the two.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._written_bytes = 0
        self._held, self._is_holding = b"", False
        self.answer_bytes = 0  # of the answer that is being written in chunks

    def sent_bytes(self) -> int:
        """Return the bytes that the client's machine took since the connection began."""
        return self._written_bytes - self._transport.get_write_buffer_size()

    def unsent_bytes(self) -> int:
        """Return the bytes that wait for the client."""
        return self.answer_bytes + self._transport.get_write_buffer_size()

    def hold(self) -> None:
        """Keep the next bytes until others are written, or until ``flush``."""
        self._is_holding = True

    def write(self, data: bytes) -> None:
        """Write bytes."""
        data, self._held = self._held + data, b""
        if self._is_holding:
            self._held, self._is_holding = data, False
        elif not self._transport.is_closing():
            self._written_bytes += len(data)
            self._transport.write(data)

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            self.write(b"")

    def close(self) -> None:
        """Write what is held, and end the connection when it has left."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """End the connection at once, and drop its unsent bytes, those that the kernel holds too."""
        self._transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
        self._transport.abort()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Return all else of the transport."""
        return getattr(self._transport, name)


class _Progress(NamedTuple):
    sent_bytes: int
    since_s: float  # when they were first seen


class UnsentAnswers:
    """The unsent bytes of all connections of one process. Not thread-safe: used in the event loop."""

    def __init__(self, client_s: float, max_bytes: int = 256 << 20) -> None:
        """Start without a connection.

        One that has unsent bytes and sends none for ``client_s`` seconds is ended; beyond ``max_bytes`` unsent bytes of
        all connections, those that sent nothing for the longest.
        """
        self.client_s, self._max_bytes = client_s, max_bytes
        self._progress = dict[MeasuredTransport, _Progress]()
        self._upper_bound = 0  # of the unsent bytes: those counted last, and all that was written since
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: MeasuredTransport) -> None:
        """Watch a connection; call this in the event loop."""
        self._progress[connection] = _Progress(0, asyncio.get_running_loop().time())
        if self._timer is None:
            self._schedule()

    def remove(self, connection: MeasuredTransport) -> None:
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
            stalls = now_s - self._progress[connection].since_s >= self.client_s
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
