"""SIGTERM under load: whatever was accepted is answered, and written down.

Some requests are surely accepted when the signal comes: their head was read, and the rest of their body comes after it.
Others are asked all the while; one of them may find its connection closed, but then the service has never read it, and
its log knows nothing of it. The control is ended at once.
"""

import asyncio
import signal
import zlib
from itertools import count
from pathlib import Path
from typing import NamedTuple

import polars as pl

from multitudes.progress import Progress
from reliability.claims import TrialResult, at_most, at_scale
from reliability.connection import Connection, post, run
from reliability.server import UNHURRIED, Server, serving
from reliability.world import World, publish_world

_HALF_SENT, _CLIENTS, _USERS = 20, 4, 50
_REST = 5  # bytes of a body that come after the signal
_END_S = 60.0


class Ended(NamedTuple):
    """What came of requests around the end of a service."""

    accepted: int  # whose head was read before
    lost: int  # of them without an answer
    answered: set[str]  # names of the others that were answered
    asked: int


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """End the service again and again, and the control."""
    rounds = at_scale(20, scale, 1)
    publish_world(folder / "releases", world=World(items=200, users=_USERS))
    ended = []
    for turn in range(rounds):
        ended.append(_serve_and_end(folder, "service", f"r{turn}", signal.SIGTERM))
        progress(turn + 1, rounds, f"{sum(one.lost for one in ended)} lost")
    control = _serve_and_end(folder, "control", "c", signal.SIGKILL)
    served, served_control = _logged_requests(folder / "service"), _logged_requests(folder / "control")
    answered = {name for one in ended for name in one.answered}
    unheard = len(served - answered)  # accepted, answered, and written down; but whoever asked heard nothing
    lost = sum(one.lost for one in ended) + unheard
    said = "ended at once"
    return TrialResult(
        [
            at_most(0, "accepted requests without an answer", lost, said, control.lost),
            at_most(
                0,
                "answers that are not in a part of the log",
                len(answered - served),
                said,
                len(control.answered - served_control),
            ),
        ],
        {
            "rounds": rounds,
            "accepted_half_sent": sum(one.accepted for one in ended),
            "asked_beside": sum(one.asked for one in ended),
            "answered": len(answered),
            "written_but_unheard": unheard,
        },
    )


def _serve_and_end(folder: Path, where: str, name: str, sent: signal.Signals) -> Ended:
    with serving(folder / "releases", folder / where, UNHURRIED) as server:
        return run(_end_under_load(server, name, sent))


async def _end_under_load(server: Server, name: str, sent: signal.Signals) -> Ended:
    """Send halves, let clients ask, end the service, and send the other halves."""
    answered, asked = set[str](), count()
    over = asyncio.Event()

    async def client() -> None:
        try:
            connection = await Connection.to(server.port)
            while not over.is_set():
                one = f"{name}-{next(asked)}"
                if (await connection.ask(_request(one))).status == 200:
                    answered.add(one)
        except OSError:
            return

    async def rest(connection: Connection, one: str) -> bool:
        try:
            await connection.send(_request(one)[-_REST:])
            status = (await connection.answer()).status
        except OSError:
            return False
        answered.update([one] if status == 200 else [])
        return status == 200

    halves = {f"{name}-half-{number}": await Connection.to(server.port) for number in range(_HALF_SENT)}
    for one, connection in halves.items():
        await connection.send(_request(one)[:-_REST])
    clients = [asyncio.create_task(client()) for _ in range(_CLIENTS)]
    await _read_by(server, answered)
    server.process.send_signal(sent)
    await asyncio.sleep(0.2)  # so that it has begun to end
    got = await asyncio.gather(*(rest(connection, one) for one, connection in halves.items()))
    await asyncio.to_thread(server.process.wait, _END_S)
    over.set()
    await asyncio.gather(*clients)
    return Ended(len(halves), got.count(False), answered, next(asked))


async def _read_by(server: Server, answered: set[str]) -> None:
    """Return when a request that was sent after the halves has been answered: so they were read."""
    before = len(answered)
    while len(answered) < before + 2 * _CLIENTS and server.process.poll() is None:
        await asyncio.sleep(0.02)


def _request(name: str) -> bytes:
    body = {"user_id": 1 + zlib.crc32(name.encode()) % _USERS, "n": 20, "request_id": name}
    return post("/v1/recommend", body)


def _logged_requests(folder: Path) -> set[str]:
    """Return the names of the requests in the segments of the log."""
    segments = list((folder / "logs" / "served").glob("*.parquet"))
    return set(pl.read_parquet(segments)["request_id"]) if segments else set()
