"""Half of what the service can bear, for a long time: its memory and its open files stay what they were.

Requests for candidates and events, on connections that stay and on ones that come and go. The control keeps a little of
every request. Connections are not counted among the open files: how many there are is up to who asks.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from multitudes.progress import Progress
from reliability.claims import Found, at_most, scaled
from reliability.connection import request, run
from reliability.load import Requests, closed_loop, open_loop, recommend
from reliability.naive import naive
from reliability.process import memory_mib, open_files
from reliability.server import Server, serving
from reliability.world import FIRST_ITEM, World, publish_world

_CLIENTS, _SAMPLES, _SPREAD = 8, 120, 4
_WARM = 1 / 3  # of the time, in which caches fill; it is not judged
# A part of the log is made in memory. With the usual size that is twice in the whole time, and a line through two teeth
# of a saw leans by where they stand; with this one it is every minute or so.
_SETTINGS = {"logs": {"segment_mb": 4}}


class Sample(NamedTuple):
    """A look at the process."""

    at_s: float
    memory_mib: float
    files: int


def trial(scale: float, folder: Path, progress: Progress) -> Found:
    """Load the service for long, and the control for a while."""
    world = World(items=scaled(20_000, scale, 200), users=scaled(2_000, scale, 50))
    publish_world(folder / "releases", world=world)
    seconds = max(3.0, 900 * scale)
    service = serving(folder / "releases", folder / "service", _SETTINGS)
    capacity, samples = _soaked(service, world, seconds, progress)
    _, control = _soaked(naive("hoarding", folder / "control"), world, min(seconds, 60.0), progress)
    slope, slope_control = _slope(samples), _slope(control)
    said = "keeps a little of every request"
    return Found(
        [
            at_most(1, "growth of memory, % in 10 min", slope, said, slope_control),
            at_most(
                _SPREAD, "growth of open files, connections apart", _more_files(samples), said, _more_files(control)
            ),
        ],
        {
            "seconds": seconds,
            "capacity_per_s": round(capacity, 1),
            "memory_mib": [round(one.memory_mib, 1) for one in samples],
            "files": [one.files for one in samples],
        },
    )


def _soaked(
    starting: AbstractContextManager[Server], world: World, seconds: float, progress: Progress
) -> tuple[float, list[Sample]]:
    with starting as server:
        return run(_loaded(server, _requests(world), seconds, progress))


async def _loaded(server: Server, asked: Requests, seconds: float, progress: Progress) -> tuple[float, list[Sample]]:
    probe_s = min(10.0, seconds / 3)
    made = await closed_loop(server.port, _CLIENTS, lambda now_s: now_s < probe_s, asked, 60.0)
    capacity = sum(one.status == 200 for one in made) / probe_s
    loop, samples = asyncio.get_running_loop(), list[Sample]()
    begin_s = loop.time()
    load = asyncio.create_task(open_loop(server.port, capacity / 2, seconds, asked, 30.0))
    while not load.done():
        await asyncio.wait([load], timeout=seconds / _SAMPLES)
        pid = server.process.pid
        samples.append(Sample(loop.time() - begin_s, memory_mib(pid), open_files(pid)))
        progress(min(len(samples), _SAMPLES), _SAMPLES, f"{samples[-1].memory_mib:.0f} MiB, {samples[-1].files} files")
    await load
    return capacity, samples


def _requests(world: World) -> Requests:
    """Return nine requests for candidates and one for an event, in turn."""
    candidates: Callable[[int], bytes] = recommend(world.users, 100)

    def nth(number: int) -> bytes:
        return candidates(number) if number % 10 else _event(number, 1 + number // 10 % world.users)

    return nth


def _event(number: int, user: int) -> bytes:
    event: dict[str, Any] = {"event_id": str(number), "user_id": user, "item_id": FIRST_ITEM + number % 200}
    return request("POST", "/v1/events", json.dumps({"events": [event]}).encode())


def _judged(samples: list[Sample]) -> list[Sample]:
    return [one for one in samples if one.at_s >= _WARM * samples[-1].at_s]


def _slope(samples: list[Sample]) -> float:
    """Return the growth of memory in percent in ten minutes, by a line through all that is judged."""
    judged = _judged(samples)
    per_s, _ = np.polyfit([one.at_s for one in judged], [one.memory_mib for one in judged], 1)
    return 100 * 600 * float(per_s) / float(np.mean([one.memory_mib for one in judged]))


def _more_files(samples: list[Sample]) -> int:
    """Return by how much the open files grew: the most in the last fifth over the most in the fifth after the begin."""
    judged = [one.files for one in _judged(samples)]
    fifth = max(1, len(judged) // 5)
    return max(judged[-fifth:]) - max(judged[:fifth])
