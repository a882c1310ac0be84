"""D1: connections that send requests without end and never read an answer; others notice nothing.

Each sends as many requests for 1,000 candidates as the service takes. They are ended after a while, since nothing of
their answers moves.
"""

import asyncio
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from multitudes.progress import Progress
from reliability.claims import TrialResult
from reliability.codes import Code, compare
from reliability.connection import deaf_socket, post, run
from reliability.load import open_loop, recommend
from reliability.server import Server
from reliability.world import World

_SOURCE = "127.0.0.2"  # the others come from 127.0.0.1
_CONNECTIONS = 32  # so many requests in flight are always admitted
_WORLD, _DEADLINE_S, _RATE = World(items=2_000, users=100), 0.5, 10.0
_PATIENCE_S = 30.0  # until those who do not read are ended: after ten seconds in which nothing of their answers moves
_REQUEST = post("/v1/recommend", {"user_id": 1, "n": 1_000})


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Let clients not read, and ask beside them."""
    connections, seconds = _CONNECTIONS, max(5.0, 10 * scale)

    def attack(code: Code) -> dict[str, Any]:
        code.publish(_WORLD)
        with code.serving({"deadlines": {"default_ms": 1e3 * _DEADLINE_S}}) as server:
            return run(_measure(server, connections, seconds))

    most = {
        "unanswered": (0.05, "share of others without an answer"),
        "open": (0.0, "connections that never read, still open"),
    }
    return compare(folder, attack, progress, most, connections=connections, seconds=seconds)


async def _measure(server: Server, connections: int, seconds: float) -> dict[str, Any]:
    deaf = [_deaf(server.port) for _ in range(connections)]
    await asyncio.sleep(1)
    feeding = asyncio.create_task(_feed(deaf))
    asked = recommend(_WORLD.users, 20, _DEADLINE_S)
    made = await open_loop(server.port, _RATE, seconds, asked, 4 * _DEADLINE_S)
    end_s = time.monotonic() + _PATIENCE_S
    while (still_open := sum(_is_open(one) for one in deaf)) and time.monotonic() < end_s:
        await asyncio.sleep(0.5)
    feeding.cancel()
    for one in deaf:
        one.close()
    unanswered = sum(one.status != 200 for one in made)
    return {"requests": len(made), "unanswered": round(unanswered / len(made), 3), "open": still_open}


def _deaf(port: int) -> socket.socket:
    made = deaf_socket(port, _SOURCE)
    made.setblocking(False)
    return made


async def _feed(deaf: list[socket.socket]) -> None:
    """Send further requests, as many as are taken."""
    left = dict.fromkeys(deaf, b"")
    while True:
        for one in deaf:
            with suppress(OSError):  # full, or ended
                for _ in range(50):
                    left[one] = left[one] or _REQUEST
                    left[one] = left[one][one.send(left[one]) :]
        await asyncio.sleep(0.1)


def _is_open(connection: socket.socket) -> bool:
    with suppress(OSError):  # it has no other side any more
        return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 and bool(connection.getpeername())
    return False
