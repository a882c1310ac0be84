"""60 % of what the service can bear, for a long time: its memory and its open files stay what they were.

Requests for candidates, events and erasures, on connections that stay and on ones that come and go, while releases are
switched and items removed by the commands. The control is the same service with a leak: it keeps a little of every
answer, and 40 open files for each second, also where a moment had no answers. Connections are not counted among the
open files: how many there are is up to who asks. Nor are pages that the kernel can take back counted as memory: those
of mapped files, and those that are freed. A segment of a log, an erasure and a new release take memory and files for a
moment; what stays is the least of each stretch.
"""

import asyncio
import sys
from asyncio.subprocess import DEVNULL
from collections import Counter
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from benchmarks.process import kept_mib, open_files

from multitudes.progress import Progress
from reliability.claims import TrialResult, at_most, at_scale
from reliability.connection import post, request, run
from reliability.load import Requests, closed_loop, open_loop, recommend
from reliability.server import MAIN, Server, Settings, serving
from reliability.suite import SOAK_SECONDS
from reliability.world import FIRST_ITEM, World, publish_world

_LOAD, _CLIENTS, _SAMPLES, _STRETCHES, _SPREAD = 0.6, 8, 480, 10, 4
_WARM = 1 / 3  # of the time, in which caches fill; it is not judged
_CONTROL_S = 60.0
# Segments of a log are made, and read by erasures, in memory. Small ones are made all the time, and the log is at its
# bound from the begin, as one is after months: what an erasure reads does not grow.
_SETTINGS: Settings = {"logs": {"segment_mb": 4, "max_gb": 0.01}}
_LEAK = """
import resource
from time import monotonic
from multitudes.service import recommend_routes
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
begun_s, kept, opened, written = monotonic(), [], [], recommend_routes.raw_json_response
def leaking(content, *more):
    kept.append(bytearray(20_000))
    while len(opened) < 40 * (monotonic() - begun_s):
        opened.append(open("/dev/null"))
    return written(content, *more)
recommend_routes.raw_json_response = leaking
"""


class Sample(NamedTuple):
    """A look at the process."""

    at_s: float
    memory_mib: float
    files: int


class Soaked(NamedTuple):
    """What a soak saw."""

    capacity: float  # requests a second
    samples: list[Sample]
    changes: dict[str, int]  # releases switched, items removed
    statuses: dict[str, int]


def trial(scale: float, folder: Path, progress: Progress, seconds: float | None = None) -> TrialResult:
    """Load the service for long, and the control for a while; ``seconds``: in place of those of the scale."""
    world = World(items=at_scale(20_000, scale, 200), users=at_scale(2_000, scale, 50))
    for number in range(2):
        publish_world(folder / "releases", number, world)
    seconds = seconds or max(3.0, SOAK_SECONDS * scale)
    soaked = _soak(folder / "releases", folder / "service", "", world, seconds, progress)
    control = _soak(folder / "releases", folder / "control", _LEAK, world, min(seconds, _CONTROL_S), progress)
    slope, slope_control = _slope(soaked.samples), _slope(control.samples)
    more, more_control = _more_files(soaked.samples), _more_files(control.samples)
    said = "the same service with a leak"
    return TrialResult(
        [
            at_most(1, "growth of memory, % in 10 min", slope, said, slope_control),
            at_most(_SPREAD, "growth of open files, connections apart", more, said, more_control),
        ],
        {
            "seconds": seconds,
            "capacity_per_s": round(soaked.capacity, 1),
            "changes": soaked.changes,
            "statuses": soaked.statuses,
            "stretches": [stretch._asdict() for stretch in _stretches(soaked.samples)],
        },
    )


def _soak(releases: Path, folder: Path, leak: str, world: World, seconds: float, progress: Progress) -> Soaked:
    with serving(releases, folder, _SETTINGS, before=leak) as server:
        return run(_load_and_sample(server, releases, world, seconds, progress))


async def _load_and_sample(server: Server, releases: Path, world: World, seconds: float, progress: Progress) -> Soaked:
    probe_s, asked = min(10.0, seconds / 3), _requests(world)
    made = await closed_loop(server.port, _CLIENTS, lambda now_s: now_s < probe_s, asked, 60.0)
    capacity = sum(one.status == 200 for one in made) / probe_s
    loop, samples, changes = asyncio.get_running_loop(), list[Sample](), {"switches": 0, "items": 0}
    begin_s = loop.time()
    load = asyncio.create_task(open_loop(server.port, _LOAD * capacity, seconds, asked, 30.0))
    changing = asyncio.create_task(_change(releases, server.folder, max(2.0, seconds / 60), changes))
    while not load.done():
        await asyncio.wait([load], timeout=seconds / _SAMPLES)
        pid = server.process.pid
        samples.append(Sample(loop.time() - begin_s, kept_mib(pid), open_files(pid)))
        progress(min(len(samples), _SAMPLES), _SAMPLES, f"{samples[-1].memory_mib:.0f} MiB, {samples[-1].files} files")
    changing.cancel()
    await asyncio.gather(changing, return_exceptions=True)
    statuses = Counter(str(one.status) for one in await load)
    return Soaked(capacity, samples, changes, dict(statuses))


async def _change(releases: Path, folder: Path, every_s: float, changes: dict[str, int]) -> None:
    """Switch releases and remove items by the commands, in turn."""
    for number in count():
        await asyncio.sleep(every_s)
        if number % 2 == 0:
            words, what = ["rollback", str(releases), f"{1 + number // 2 % 2:04}"], "switches"
        else:
            file = folder / "removed.csv"
            pl.DataFrame({"item_id": [FIRST_ITEM + 100 + number]}).write_csv(file)
            words, what = ["items", "remove", str(releases), str(file)], "items"
        command = [sys.executable, "-c", MAIN, *words]
        process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
        try:
            changes[what] += await process.wait() == 0
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise


def _requests(world: World) -> Requests:
    """Return requests for candidates; one in twenty is an event, one in a thousand erases a user: every few seconds."""
    candidates: Callable[[int], bytes] = recommend(world.users, 100)

    def nth(number: int) -> bytes:
        if number % 20 == 0:
            return _event(number, 1 + number // 20 % world.users)
        if number % 1_000 == 7:
            return request("DELETE", f"/v1/users/{1 + number // 1_000 % world.users}")
        return candidates(number)

    return nth


def _event(number: int, user: int) -> bytes:
    event: dict[str, Any] = {"event_id": str(number), "user_id": user, "item_id": FIRST_ITEM + number % 100}
    return post("/v1/events", {"events": [event]})


def _after_warm_up(samples: list[Sample]) -> list[Sample]:
    return [one for one in samples if one.at_s >= _WARM * samples[-1].at_s]


class Stretch(NamedTuple):
    """What was seen in a tenth of what is judged."""

    at_s: float  # when the memory was least
    least_mib: float
    median_mib: float
    files: int  # at least


def _stretches(samples: list[Sample]) -> list[Stretch]:
    judged = _after_warm_up(samples)
    ends = np.linspace(0, len(judged), min(_STRETCHES, len(judged)) + 1).astype(int).tolist()
    return [_stretch(judged[begin:end]) for begin, end in pairwise(ends)]


def _stretch(samples: list[Sample]) -> Stretch:
    least = min(samples, key=lambda one: one.memory_mib)
    median_mib = float(np.median([one.memory_mib for one in samples]))
    files = min(one.files for one in samples)
    return Stretch(round(least.at_s, 1), round(least.memory_mib, 2), round(median_mib, 2), files)


def _slope(samples: list[Sample]) -> float:
    """Return the growth of memory in percent in ten minutes, by a line through the least of each stretch."""
    stretches = _stretches(samples)
    memory = [one.least_mib for one in stretches]
    per_s, _ = np.polyfit([one.at_s for one in stretches], memory, 1)
    return 100 * 600 * float(per_s) / float(np.mean(memory))


def _more_files(samples: list[Sample]) -> int:
    """Return by how much the open files grew: the least of the last fifth less that of the fifth after the begin."""
    judged = [one.files for one in _after_warm_up(samples)]
    fifth = max(1, len(judged) // 5)
    return min(judged[-fifth:]) - min(judged[:fifth])
