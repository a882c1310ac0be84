"""kill −9 after events were acknowledged: each of them is there afterwards, in the user states and in the log.

The service is killed many times, in the middle of further events, and started again on what it left. The control
acknowledges what is in a buffer of its own.
"""

import asyncio
from contextlib import AbstractContextManager, closing
from itertools import count
from pathlib import Path

import polars as pl

from multitudes.logs.logs import Logs
from multitudes.logs.schemas import IdTypes
from multitudes.progress import Progress
from multitudes.state.sqlite import SQLiteStateStore
from reliability.claims import TrialResult, at_most, at_scale
from reliability.connection import Connection, post, run
from reliability.naive import naive
from reliability.server import Server, serving
from reliability.world import FIRST_ITEM, World, publish_world

_USERS, _CLIENTS, _TOGETHER = 500, 4, 5


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Kill the service, and the control, until as many events as wanted were acknowledged."""
    events, kills = at_scale(10_000, scale, 100), at_scale(50, scale, 2)
    publish_world(folder / "releases", world=World(items=200, users=20))
    told: set[str] = set()
    for kill in range(kills):
        told |= _kill_midway(serving(folder / "releases", folder / "service"), events // kills, f"r{kill}")
        progress(kill + 1, kills, f"{len(told):,} events acknowledged")
    in_state, in_log = told & _in_state(folder / "service"), told & _in_log(folder / "service")
    told_control = _kill_midway(naive("forgetful", folder / "control"), events // kills, "c")
    lost = told_control - set((folder / "control" / "events").read_text(encoding="utf-8").split())
    said = "a service that keeps them in a buffer"
    return TrialResult(
        [
            at_most(0, "acknowledged events not in the user states", len(told - in_state), said, len(lost)),
            at_most(0, "acknowledged events not in the log", len(told - in_log), said, len(lost)),
        ],
        {"acknowledged": len(told), "kills": kills, "acknowledged_by_control": len(told_control)},
    )


def _kill_midway(starting: AbstractContextManager[Server], events: int, name: str) -> set[str]:
    """Send events until so many are acknowledged, then kill the service; return the names of all that were."""
    with starting as server:
        told = run(_acknowledged_events(server, events, name))
        server.process.wait()
    return told


async def _acknowledged_events(server: Server, events: int, name: str) -> set[str]:
    told, numbers = set[str](), count()

    async def client() -> None:
        try:
            connection = await Connection.to(server.port)
            while server.process.poll() is None:
                some = [_event(name, next(numbers)) for _ in range(_TOGETHER)]
                answer = await connection.ask(post("/v1/events", {"events": some}))
                if answer.status == 200:
                    told.update(str(event["event_id"]) for event in some)
                if len(told) >= events:
                    server.process.kill()  # the others are in the middle of theirs
        except OSError:
            return

    await asyncio.gather(*(client() for _ in range(_CLIENTS)))
    return told


def _event(name: str, number: int) -> dict[str, str | int]:
    return {"event_id": f"{name}-{number}", "user_id": 1 + number % _USERS, "item_id": FIRST_ITEM + number % 100}


def _in_state(folder: Path) -> set[str]:
    with closing(SQLiteStateStore(folder / "state.sqlite")) as states:
        return {event.event_id for person in states.read(range(1, _USERS + 1)) for event in person.events}


def _in_log(folder: Path) -> set[str]:
    """Make segments of what the killed processes left, and read them."""
    Logs(folder / "logs", IdTypes("int64", "int64")).close()
    return set(pl.read_parquet(folder / "logs" / "events" / "*.parquet")["event_id"])
