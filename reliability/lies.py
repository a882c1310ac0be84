"""A Redis server that lies: it sends byte by byte, without end, or what answers nothing; then it answers well again.

Each lie lasts for a while, under a steady load. A client of Redis bounds the time of each read, and not that of an
answer, so a byte now and then keeps a thread for ever, and an answer without end takes all memory.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.process import peak_mib
from tests.state.lying_redis import Lie, always, dripping, endless, honest, lying_server

from multitudes.progress import Progress
from reliability.claims import TrialResult, at_least, at_most
from reliability.codes import Code, both
from reliability.connection import Connection, request, run
from reliability.load import Outcome, open_loop, recommend
from reliability.server import Server
from reliability.world import World

_COMMIT = "8c7ebc0"  # the attacks were first made on it
_CONTROL = f"commit {_COMMIT}"
_WORLD, _RATE, _DEADLINE_S = World(items=2_000, users=200), 20.0, 0.5
_LIES: dict[str, Lie] = {"byte by byte": dripping, "without end": endless, "nonsense": always(b"+OK\r\n")}
_STATELESS = "the store of user states"  # how the reason of an answer without user states begins
_SETTLED_S = 3.0  # after which the service has tried the store again


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Let the store lie in three ways."""
    seconds = max(3.0, 8 * scale)

    def attack(code: Code) -> dict[str, Any]:
        code.publish(_WORLD)
        found = {name: _measure_lie(code, lie, seconds) for name, lie in _LIES.items()}
        return {
            "late": max(one["late"] for one in found.values()),
            "with_state": min(one["with_state"] for one in found.values()),
            "grown_mib": max(one["grown_mib"] for one in found.values()),
            "erased": found["nonsense"]["erased"],
            "lies": found,
        }

    now, before = both(folder, attack, progress, _COMMIT)
    claims = [
        at_least(0.9, "share with user states after each lie", now["with_state"], _CONTROL, before["with_state"]),
        at_most(128, "memory that a lie costs, MiB", now["grown_mib"], _CONTROL, before["grown_mib"]),
        at_most(0, "erasures acknowledged that no store has made", now["erased"], _CONTROL, before["erased"]),
    ]
    return TrialResult(claims, {"seconds": seconds, "now": now, "before": before})


def _measure_lie(code: Code, lie: Lie, seconds: float) -> dict[str, Any]:
    """Serve before a store that is honest, lies, and is honest again."""
    lies = False

    def answer(command: bytes) -> Iterator[bytes]:
        return lie(command) if lies else honest(command)

    with lying_server(answer) as port, code.serving({"state": {"store": f"redis://127.0.0.1:{port}"}}) as server:
        _load(server, 1.0)
        grown_mib, lies = -peak_mib(server.process.pid), True
        during = _load(server, seconds)
        erased = run(_erase(server))
        grown_mib, lies = grown_mib + peak_mib(server.process.pid), False
        _load(server, _SETTLED_S)
        after = _load(server, 1.0)
    return {
        "late": sum(not one.within(_DEADLINE_S) for one in during) / len(during),
        "with_state": sum(one.status == 200 and not one.reason.startswith(_STATELESS) for one in after) / len(after),
        "grown_mib": round(grown_mib, 1),
        "erased": erased,
    }


def _load(server: Server, seconds: float) -> list[Outcome]:
    return run(open_loop(server.port, _RATE, seconds, recommend(_WORLD.users, 20, _DEADLINE_S), 4 * _DEADLINE_S))


async def _erase(server: Server) -> int:
    """Return 1 if the service says that it has erased a user."""
    connection = await Connection.to(server.port)
    return int((await connection.ask(request("DELETE", "/v1/users/7"))).status == 200)
