"""D3: batches of the largest answers, which nobody reads: the memory that they hold is bounded.

A batch of 256 users with 1,000 candidates each is a request of 9 KB and was an answer of 46 MB. Each connection sends
one of these, and then the largest that is still taken, of 100 candidates each.
"""

import socket
from pathlib import Path
from typing import Any

from benchmarks.process import memory_field_mib

from multitudes.progress import Progress
from reliability.claims import TrialResult, at_scale
from reliability.codes import Code, compare
from reliability.connection import deaf_socket, post, run
from reliability.load import open_loop, percentile_ms, recommend
from reliability.server import Server
from reliability.world import World

_WORLD, _RATE, _PATIENCE_S = World(items=20_000, users=300), 10.0, 10.0
_MIB = 150  # what 25 answers of the largest batch that is taken may hold


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Ask for batches and read nothing, and ask beside them for single users."""
    connections, seconds = at_scale(25, scale, 3), max(5.0, 10 * scale)

    def attack(code: Code) -> dict[str, Any]:
        code.publish(_WORLD)
        with code.serving({"deadlines": {"batch_ms": 60_000}}) as server:
            return run(_measure(server, connections, seconds))

    most = {
        "mib": (_MIB * connections / 25, f"MiB that {connections} unread batches hold"),
        "p99_ms": (500.0, "p99 of single requests beside them, ms"),
    }
    return compare(folder, attack, progress, most, seconds=seconds)


async def _measure(server: Server, connections: int, seconds: float) -> dict[str, Any]:
    alone = await open_loop(server.port, _RATE, 2.0, recommend(_WORLD.users, 20), _PATIENCE_S)
    mib = memory_field_mib("VmRSS", server.process.pid)
    deaf = [_deaf(server.port) for _ in range(connections)]
    made = await open_loop(server.port, _RATE, seconds, recommend(_WORLD.users, 20), _PATIENCE_S)
    grown = memory_field_mib("VmRSS", server.process.pid) - mib
    for one in deaf:
        one.close()
    return {"mib": round(grown, 1), "p99_alone_ms": percentile_ms(alone, 99), "p99_ms": percentile_ms(made, 99)}


def _deaf(port: int) -> socket.socket:
    made = deaf_socket(port)
    for n in (1_000, 100):
        users = {"requests": [{"user_id": 1 + user, "n": n} for user in range(256)]}
        made.sendall(post("/v1/recommend/batch", users))
    return made
