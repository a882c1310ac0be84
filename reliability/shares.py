"""D2: a client of many connections and long deadlines; another, of one connection, is served as before.

Without keys, clients are told apart by their address; each of the two has one of its own.
"""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from multitudes.progress import Progress
from reliability.claims import TrialResult, at_least
from reliability.codes import BEFORE, Code, both
from reliability.connection import Connection, post, run
from reliability.server import Server
from reliability.world import World

_WORLD = World(items=20_000, users=200)
_GREEDY, _MODEST = "127.0.0.2", "127.0.0.3"
_BODY = {"user_id": 1, "n": 100}
_LONG = post("/v1/recommend", _BODY, "x-deadline-ms: 30000")
_USUAL = post("/v1/recommend", _BODY)
_CONNECTIONS, _PAUSE_S, _WARM_S = 192, 0.05, 3.0


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Ask with many connections and with one."""
    seconds = max(5.0, 10 * scale)

    def attack(code: Code) -> dict[str, Any]:
        code.publish(_WORLD)
        with code.serving({"deadlines": {"default_ms": 500}}) as server:
            return run(_count_answers(server, seconds))

    now, before = both(folder, attack, progress)
    share, share_before = (one["modest"].get("200", 0) / max(sum(one["modest"].values()), 1) for one in (now, before))
    return TrialResult(
        [at_least(0.9, "share of the modest client's requests that are answered", share, BEFORE, share_before)],
        {"connections": _CONNECTIONS, "seconds": seconds, "now": now, "before": before},
    )


async def _count_answers(server: Server, seconds: float) -> dict[str, Any]:
    clock = asyncio.get_running_loop()
    begin_s = clock.time() + _WARM_S
    counts = {"greedy": Counter[str](), "modest": Counter[str]()}

    async def client(name: str, source: str, asked: bytes, pause_s: float) -> None:
        connection = await Connection.to(server.port, source)
        while clock.time() < begin_s + seconds:
            answer = await connection.ask(asked)
            if clock.time() >= begin_s:
                counts[name][str(answer.status)] += 1
            await asyncio.sleep(pause_s if answer.status == 200 else 0.05)

    clients = [client("greedy", _GREEDY, _LONG, 0.0) for _ in range(_CONNECTIONS)]
    await asyncio.gather(*clients, client("modest", _MODEST, _USUAL, _PAUSE_S))
    return {name: dict(count) for name, count in counts.items()}
