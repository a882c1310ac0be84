"""One HTTP connection, as small as it can be: who makes load must cost less than who bears it."""

import asyncio
import json
import socket
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
_CONNECTIONS: set["Connection"] = set()  # in this run


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes
    retry_after_s: float = 0.0  # when to come again


class Connection:
    """A connection that is kept open; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        _CONNECTIONS.add(self)

    @classmethod
    async def to(cls, port: int, source: str = "127.0.0.1") -> "Connection":
        """Connect to this machine, from one of its addresses.

        Raises:
            OSError: nobody listens there.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        # Where nobody listens, the kernel may draw that very port for the client, which then talks to itself.
        if writer.get_extra_info("sockname") == writer.get_extra_info("peername"):
            writer.close()
            raise ConnectionRefusedError(f"nobody listens on port {port}")
        return cls(reader, writer)

    async def ask(self, request: bytes) -> Answer:
        """Send a request and return the answer.

        Raises:
            OSError: the connection ended before the answer did.
        """
        await self.send(request)
        return await self.answer()

    async def send(self, request: bytes) -> None:
        """Send a request, or a part of it."""
        self._writer.write(request)
        await self._writer.drain()

    async def answer(self) -> Answer:
        """Wait for an answer.

        Raises:
            OSError: the connection ended before the answer did.
        """
        try:
            head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            body = await self._reader.readexactly(_number(head, b"content-length"))
        except asyncio.IncompleteReadError as error:
            raise ConnectionError(f"the connection ended after {len(error.partial)} bytes") from None
        return Answer(int(head[9:12]), body, _number(head, b"retry-after"))

    @property
    def ended(self) -> bool:
        """Whether the other side has ended it."""
        return self._reader.at_eof() or self._writer.is_closing()

    def close(self) -> None:
        """Close it."""
        self._writer.close()

    async def wait_closed(self) -> None:
        """Close it, and return when it is."""
        self.close()
        with suppress(OSError):
            await self._writer.wait_closed()


def _number(head: bytes, name: bytes) -> int:
    """Return the number in a header of a head in lower case; 0 if it has no such header."""
    return int(head.partition(name + b": ")[2].partition(b"\r\n")[0] or 0)


def deaf_socket(port: int, source: str = "127.0.0.1") -> socket.socket:
    """Return a connection from one of this machine's addresses that takes few bytes and reads none."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    made.bind((source, 0))
    made.connect(("127.0.0.1", port))
    return made


def run(made: Coroutine[Any, Any, T]) -> T:
    """Run to the end, and leave no connection behind."""

    async def running() -> T:
        try:
            return await made
        finally:
            while _CONNECTIONS:
                await _CONNECTIONS.pop().wait_closed()

    return asyncio.run(running())


def post(path: str, body: object, *headers: str) -> bytes:
    """Return the bytes of a request with a JSON body."""
    return request("POST", path, json.dumps(body).encode(), *headers)


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", *headers]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body
