"""D4: writers of large bodies of events; recommendations keep their deadline, and writers are told to slow down."""

import asyncio
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

from multitudes.progress import Progress
from reliability.claims import TrialResult, at_most, at_scale
from reliability.codes import BEFORE, Code, both
from reliability.connection import Connection, post, run
from reliability.load import open_loop, percentile_ms, recommend, running
from reliability.server import Server
from reliability.world import World

_WORLD, _RATE, _PATIENCE_S = World(items=2_000, users=500), 20.0, 10.0


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Write with all force, and ask beside it."""
    writers, events, seconds = at_scale(128, scale, 2), at_scale(1_000, scale, 50), max(3.0, 10 * scale)

    def attack(code: Code) -> dict[str, Any]:
        code.publish(_WORLD)
        with code.serving() as server:
            return run(_measure(server, writers, events, seconds))

    now, before = both(folder, attack, progress)
    return TrialResult(
        [
            at_most(500, "p99 of recommendations beside the writers, ms", now["p99_ms"], BEFORE, before["p99_ms"]),
            at_most(0, "of the writers, told nothing", now["told"] == 0, BEFORE, before["told"] == 0),
        ],
        {"writers": writers, "events_of_a_body": events, "seconds": seconds, "now": now, "before": before},
    )


async def _measure(server: Server, writers: int, events: int, seconds: float) -> dict[str, Any]:
    numbers, statuses = count(), Counter[int]()

    async def write() -> None:
        connection, body = await Connection.to(server.port), None
        while True:
            # Refused events are sent again as they are: to make others each time would keep this process from asking.
            body = body or post("/v1/events", {"events": [_WORLD.event(next(numbers)) for _ in range(events)]})
            status = (await connection.ask(body)).status
            statuses[status] += 1
            body = None if status == 200 else body
            await asyncio.sleep(0.1 if status == 429 else 0.0)

    async with running(*(write() for _ in range(writers))):
        made = await open_loop(server.port, _RATE, seconds, recommend(_WORLD.users, 20), _PATIENCE_S)
    return {
        "p99_ms": percentile_ms(made, 99),
        "told": statuses[429],
        "bodies": {str(status): n for status, n in statuses.items()},
    }
