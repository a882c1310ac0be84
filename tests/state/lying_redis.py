"""A server that takes the commands of Redis and answers what a test says, or nothing."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from time import sleep

Lie = Callable[[bytes], Iterator[bytes]]  # the name of a command → the pieces of its answer

SECRET = b"$32\r\n" + 32 * b"s" + b"\r\n"


def always(answer: bytes) -> Lie:
    """Answer every command alike."""
    return lambda _: iter([answer])


def dripping(command: bytes) -> Iterator[bytes]:
    """Send a long answer byte by byte, so that no read takes long."""
    del command
    yield b"$1000000\r\n"
    while True:
        sleep(0.02)
        yield b"x"


def endless(command: bytes) -> Iterator[bytes]:
    """Send an array that never ends, as fast as it is read."""
    del command
    yield b"*2000000000\r\n"
    while True:
        yield 10_000 * b":1\r\n"


def honest(command: bytes) -> Iterator[bytes]:
    """Answer as a server does that has stored no user."""
    read = b"*3\r\n" + SECRET + b"*0\r\n*2\r\n$-1\r\n$-1\r\n"
    known = {b"GET": SECRET, b"EXEC": read, b"EVAL": b"*1\r\n:1\r\n", b"PING": b"+PONG\r\n"}
    queued = {b"ZRANGE": b"+QUEUED\r\n", b"HMGET": b"+QUEUED\r\n"}
    yield (known | queued).get(command, b"+OK\r\n")


@contextmanager
def lying_server(lie: Lie) -> Iterator[int]:
    """Serve on a port of this machine, which is given, until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening, lie), daemon=True).start()
        yield listening.getsockname()[1]


def _accept(listening: socket.socket, lie: Lie) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_answer, args=(connection, lie), daemon=True).start()


def _answer(connection: socket.socket, lie: Lie) -> None:
    with suppress(OSError, ValueError), connection, connection.makefile("rb") as commands:
        while True:
            for piece in lie(_command(commands)):
                connection.sendall(piece)


def _command(commands: BufferedReader) -> bytes:
    sizes = range(int(commands.readline()[1:]))
    name, *_ = [commands.read(int(commands.readline()[1:]) + 2)[:-2] for _ in sizes]
    return name.upper()
