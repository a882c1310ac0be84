"""A thousand clients that connect, send half a head, and then a byte now and then: others notice nothing.

The control gives each connection a thread of a pool, until the pool is empty.
"""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from multitudes.progress import Progress
from reliability.claims import TrialResult, at_most, at_scale
from reliability.connection import Connection, run
from reliability.load import open_loop, percentile_ms, recommend, running
from reliability.naive import naive
from reliability.server import Server, serving
from reliability.world import World, publish_world

DEADLINE_S = 0.5
_RATE, _USERS, _DRIP_S = 10.0, 50, 2.0
_FILES = 4_096


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Ask without and with half-open clients, and the control with them."""
    half_open, seconds = at_scale(1_000, scale, 50), max(1.0, 15 * scale)
    _allow_files(_FILES)
    publish_world(folder / "releases", world=World(items=200, users=_USERS))
    progress(0, 3, "alone")
    with serving(folder / "releases", folder / "service") as server:
        alone = run(_measure(server, 0, seconds))
        progress(1, 3, f"beside {half_open:,} half-open clients")
        beside = run(_measure(server, half_open, seconds))
    progress(2, 3, "control")
    with naive("plain", folder / "control") as server:
        control = run(_measure(server, half_open, min(seconds, 3.0)))
    said = "a thread for each connection"
    return TrialResult(
        [at_most(0, "share of others not answered in time", beside["late"], said, control["late"])],
        {"half_open": half_open, "seconds": seconds, "alone": alone, "beside": beside, "control": control},
    )


async def _measure(server: Server, half_open: int, seconds: float) -> dict[str, Any]:
    async with _dripping(server.port, half_open):
        asked = recommend(_USERS, 20, DEADLINE_S)
        made = await open_loop(server.port, _RATE, seconds, asked, 4 * DEADLINE_S)
    late = sum(not one.within(DEADLINE_S) for one in made) / len(made)
    return {"requests": len(made), "late": late, "p99_ms": percentile_ms(made, 99)}


@asynccontextmanager
async def _dripping(port: int, clients: int) -> AsyncIterator[None]:
    """Keep half-open clients, from when all of them have begun until the end of the block."""
    begun = [asyncio.Event() for _ in range(clients)]
    async with running(*(_drip(port, event) for event in begun)):
        await asyncio.gather(*(event.wait() for event in begun))
        yield


async def _drip(port: int, begun: asyncio.Event) -> None:
    """Send a head that never ends; begin anew where the connection is closed."""
    while True:
        with suppress(OSError):
            connection = await Connection.to(port)
            try:
                await connection.send(b"POST /v1/recommend HTTP/1.1\r\nhost: 127.0.0.1\r\nx-more: ")
                while not connection.ended:
                    begun.set()
                    await asyncio.sleep(_DRIP_S)
                    await connection.send(b"x")
            finally:
                connection.close()
        begun.set()
        await asyncio.sleep(_DRIP_S)


def _allow_files(most: int) -> None:
    """Let this process, and the servers that it starts, have so many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, hard), hard))
