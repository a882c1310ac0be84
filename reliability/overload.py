"""More is asked than can be answered: whoever is answered is answered in time, and as many as before.

Capacity is what many clients get who wait for their answers, with time enough for full ones. Then requests come at
multiples of it, without waiting. The service has one core, and who makes the load another. The control is the same
service without a deadline: it answers everybody, in turn.

Where others are at work on the machine, the service gets less of its core than at the time of the capacity. *By
processor time* is the same share with each second that the service has got, in place of each second that went by. What
an answer and a rejection cost is found by least squares over all loads.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from multitudes.progress import Progress
from reliability.claims import Found, at_least, at_most, scaled
from reliability.connection import run
from reliability.load import Outcome, closed_loop, open_loop, percentile_s, recommend
from reliability.process import cores_apart, cpu_s, run_on
from reliability.server import Server, Settings, serving
from reliability.world import World, publish_world

DEADLINE_S = 0.5
TIMES = (1, 2, 5)
_CLIENTS, _N = 32, 100  # so few that nobody is rejected while the capacity is measured
_NO_DEADLINE: Settings = {
    "deadlines": {"default_ms": 600_000, "max_ms": 600_000},
    "engine": {"queue": 1_000_000},
    "admission": {"headroom": 1.0},
}


def trial(scale: float, folder: Path, progress: Progress) -> Found:
    """Measure capacity, and load the service and the control with multiples of it."""
    world = World(items=scaled(20_000, scale, 200), users=scaled(2_000, scale, 50))
    publish_world(folder / "releases", world=world)
    seconds = max(1.0, 15 * scale)
    with _apart(folder / "releases", folder / "service", {}) as server:
        used_s = _cpu_clock(server)
        capacity = _capacity(server.port, world, seconds)
        answers_per_cpu_s = capacity * seconds / used_s()
        loads = dict[int, dict[str, Any]]()
        for times in TIMES:
            progress(len(loads), len(TIMES) + 1, f"{times} × {capacity:.0f} requests/s")
            made = _loaded(server.port, world, times * capacity, seconds, DEADLINE_S)
            loads[times] = _figures(made, seconds) | {"cpu_s": round(used_s(), 2)}
    with _apart(folder / "releases", folder / "control", _NO_DEADLINE) as server:
        used_s = _cpu_clock(server)
        control = _figures(_loaded(server.port, world, 2 * capacity, seconds, None), seconds)
        control |= {"cpu_s": round(used_s(), 2)}
    progress(len(TIMES) + 1, len(TIMES) + 1, "done")
    return _found(capacity, answers_per_cpu_s, loads, control, seconds)


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


def _cpu_clock(server: Server) -> Callable[[], float]:
    """Return a function that returns the processor time of a service since it was last called."""
    last_s = cpu_s(server.process.pid)

    def used_s() -> float:
        nonlocal last_s
        before_s, last_s = last_s, cpu_s(server.process.pid)
        return last_s - before_s

    return used_s


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


def _costs_ms(loads: Iterable[dict[str, Any]]) -> tuple[float, float]:
    """Return the milliseconds of processor time of an answer and of a rejection."""
    statuses, used_s = [load["statuses"] for load in loads], [load["cpu_s"] for load in loads]
    counts = [[one.get("200", 0), one.get("429", 0)] for one in statuses]
    (answer_s, rejection_s), *_ = np.linalg.lstsq(np.array(counts), np.array(used_s), rcond=None)
    return 1e3 * float(answer_s), 1e3 * float(rejection_s)


def _found(
    capacity: float,
    answers_per_cpu_s: float,
    loads: Mapping[int, dict[str, Any]],
    control: dict[str, Any],
    seconds: float,
) -> Found:
    said = "the same at 2 ×, no deadlines"
    claims = [
        at_most(1e3 * DEADLINE_S, f"p99 of what is answered at {times} × capacity, ms", load["p99_ms"], said, p99)
        for times, load in loads.items()
        for p99 in (control["p99_ms"],)
    ]
    for times in (2, 5):
        text = f"answers in time at {times} × capacity, of capacity"
        share, control_share = (one["in_time_per_s"] / capacity for one in (loads[times], control))
        claims.append(at_least(0.9, text, share, said, control_share))
        share, control_share = (
            one["in_time_per_s"] * seconds / max(one["cpu_s"], 0.01) / answers_per_cpu_s
            for one in (loads[times], control)
        )
        claims.append(at_least(0.9, f"{text}, by processor time", share, said, control_share))
    answer_ms, rejection_ms = _costs_ms(loads.values())
    return Found(
        claims,
        {
            "capacity_per_s": round(capacity, 1),
            "answers_per_cpu_s": round(answers_per_cpu_s, 1),
            "cpu_ms": {"answer": round(answer_ms, 3), "rejection": round(rejection_ms, 4)},
            "deadline_ms": 1e3 * DEADLINE_S,
            "seconds": seconds,
            "loads": {f"{times} ×": load for times, load in loads.items()},
            "control": control,
        },
    )
