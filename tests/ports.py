"""Ports for servers of tests that have to be told theirs, and listen only later."""

import random
import socket
from contextlib import suppress

# Below those that Linux gives to whoever asks for any, as another test does before the server has it. A process of
# tests begins anywhere, lest it and the one beside it find the same ones free, and comes to each once.
_FIRST, _COUNT = 20_000, 12_000
_offset = random.SystemRandom().randrange(_COUNT)


def free_port() -> int:
    """Return a port of this machine that nobody has, another one each time."""
    global _offset  # noqa: PLW0603
    for _ in range(_COUNT):
        _offset = (_offset + 1) % _COUNT
        with socket.socket() as trial, suppress(OSError):
            trial.bind(("127.0.0.1", _FIRST + _offset))
            return _FIRST + _offset
    raise AssertionError("no port is free")
