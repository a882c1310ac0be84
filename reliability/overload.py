"""More is asked than can be answered: whoever is answered is answered in time, and as many as before.

Capacity is what many clients get who wait for their answers, with time enough for full ones. Then requests come at
multiples of it, without waiting. The service has one core, and who makes the load another. The control is the same
service without a deadline: it answers everybody, in turn.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from multitudes.progress import Progress
from reliability.claims import Found, at_least, at_most, scaled
from reliability.connection import run
from reliability.load import Outcome, closed_loop, open_loop, percentile_s, recommend
from reliability.process import cores_apart, run_on
from reliability.server import Server, Settings, serving
from reliability.world import World, publish_world

DEADLINE_S = 0.5
TIMES = (1, 2, 5)
_CLIENTS, _N = 64, 100
_NO_DEADLINE: Settings = {
    "deadlines": {"default_ms": 600_000, "max_ms": 600_000},
    "engine": {"queue": 1_000_000},
    "admission": {"headroom": 1.0},
}


def trial(scale: float, folder: Path, progress: Progress) -> Found:
    """Measure capacity, and load the service and the control with multiples of it."""
    world = World(items=scaled(20_000, scale, 200), users=scaled(2_000, scale, 50))
    publish_world(folder / "releases", world=world)
    seconds = max(1.0, 60 * scale)
    with _apart(folder / "releases", folder / "service", {}) as server:
        capacity = _capacity(server.port, world, seconds / 2)
        loads = dict[int, dict[str, Any]]()
        for times in TIMES:
            progress(len(loads), len(TIMES) + 1, f"{times} × {capacity:.0f} requests/s")
            made = _loaded(server.port, world, times * capacity, seconds, DEADLINE_S)
            loads[times] = _figures(made, seconds)
    with _apart(folder / "releases", folder / "control", _NO_DEADLINE) as server:
        control = _figures(_loaded(server.port, world, 2 * capacity, seconds, None), seconds)
    progress(len(TIMES) + 1, len(TIMES) + 1, "done")
    return _found(capacity, loads, control, seconds)


@contextmanager
def _apart(releases: Path, folder: Path, settings: Settings) -> Iterator[Server]:
    """Serve on a core of its own."""
    bearing, making = cores_apart()
    run_on(bearing)
    try:
        with serving(releases, folder, settings) as server:
            run_on(making)
            yield server
    finally:
        run_on(bearing | making)


def _capacity(port: int, world: World, seconds: float) -> float:
    """Return answers a second, in full, to clients that wait for them; the begin is not counted."""
    warm_s, asked = seconds / 4, recommend(world.users, _N, 30.0)
    made = run(closed_loop(port, _CLIENTS, lambda now_s: now_s < seconds, asked, 60.0))
    counted = [one for one in made if one.due_s + one.seconds > warm_s and one.status == 200 and not one.degraded]
    return len(counted) / (max(one.due_s + one.seconds for one in made) - warm_s)


def _loaded(port: int, world: World, rate: float, seconds: float, deadline_s: float | None) -> list[Outcome]:
    asked = recommend(world.users, _N, deadline_s)
    return run(open_loop(port, rate, seconds, asked, 4 * DEADLINE_S))


def _figures(made: list[Outcome], seconds: float) -> dict[str, Any]:
    good = [one for one in made if one.within(DEADLINE_S)]
    return {
        "asked_per_s": round(len(made) / seconds, 1),
        "in_time_per_s": round(len(good) / seconds, 1),
        "full_in_time_per_s": round(sum(not one.degraded for one in good) / seconds, 1),
        "p50_ms": round(1e3 * percentile_s(made, 50), 1),
        "p99_ms": round(1e3 * percentile_s(made, 99), 1),
        "caller_behind_p99_ms": round(1e3 * float(np.percentile([one.begun_s for one in made], 99)), 1),
        "statuses": dict(Counter(str(one.status) for one in made)),
        "degraded": dict(Counter(one.reason for one in made if one.degraded)),
    }


def _found(capacity: float, loads: Mapping[int, dict[str, Any]], control: dict[str, Any], seconds: float) -> Found:
    said = "the same at 2 ×, no deadlines"
    claims = [
        at_most(1e3 * DEADLINE_S, f"p99 of what is answered at {times} × capacity, ms", load["p99_ms"], said, p99)
        for times, load in loads.items()
        for p99 in (control["p99_ms"],)
    ]
    share, control_share = (one["in_time_per_s"] / capacity for one in (loads[2], control))
    claims.append(at_least(0.9, "answers in time at 2 × capacity, of capacity", share, said, control_share))
    return Found(
        claims,
        {
            "capacity_per_s": round(capacity, 1),
            "deadline_ms": 1e3 * DEADLINE_S,
            "seconds": seconds,
            "loads": {f"{times} ×": load for times, load in loads.items()},
            "control": control,
        },
    )
