"""More is asked than can be answered: whoever is answered is answered in time, and as many as before.

Capacity is what many clients get who wait for their answers, with time enough for full ones. Then requests come at
multiples of it, without waiting; and from so many clients that they would be five times too many, if those that are
rejected did not wait as long as they are told. The service has one core, and who makes the load another. The control is
the same service without a deadline: it answers everybody, in turn.

A core is not always equally fast. So the trial takes turns: in each round it measures the capacity and then each load,
and all rounds are added up. What an answer and a rejection cost is found by least squares over all loads.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.process import cores_apart, cpu_s, pin_to_cores

from multitudes.progress import Progress
from reliability.claims import TrialResult, at_least, at_most, at_scale
from reliability.connection import run
from reliability.load import Outcome, closed_loop, open_loop, percentile_ms, recommend, returning_clients
from reliability.server import Server, Settings, serving
from reliability.world import World, publish_world

DEADLINE_S = 0.5
TIMES = (1, 2, 5)
ROUNDS = 5
PAUSE_S = 1.0  # of a client after an answer, on average
_CLIENTS, _N = 32, 100  # so few that nobody is rejected while the capacity is measured
_NO_DEADLINE: Settings = {"deadlines": {"default_ms": 600_000, "max_ms": 600_000}}
# A queue that holds all that is asked, as that of a service without admission control.
_LONG_QUEUE = """
from functools import partial
from multitudes.service import startup
from multitudes.service.admission import AdmissionConfig
from multitudes.service.engine import QueueConfig
startup.Engine = partial(startup.Engine, config=QueueConfig(queue=1_000_000), admission=AdmissionConfig(headroom=1.0))
"""


class _Round(NamedTuple):
    capacity: float  # answers a second
    made: dict[int, list[Outcome]]  # what came of each load, by its multiple
    cpu_s: dict[int, float]  # of the service, by load


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Measure capacity, and load the service and the control with multiples of it, in turn."""
    world = World(items=at_scale(20_000, scale, 200), users=at_scale(2_000, scale, 50))
    publish_world(folder / "releases", world=world)
    seconds, count = max(1.0, 2.5 * scale), at_scale(ROUNDS, scale, 2)
    with _apart(folder / "releases", folder / "service", {}) as server:
        _capacity(server.port, world, seconds)  # the first answers of a service are slow
        rounds = list[_Round]()
        for number in range(count):
            progress(number, count + 1, f"round {number + 1} of {count}")
            rounds.append(_round(server, world, seconds))
        capacity = float(np.mean([one.capacity for one in rounds]))
        told = _load_by_returning_clients(server.port, world, capacity, 6 * seconds)
    progress(count, count + 1, "the control")
    with _apart(folder / "releases", folder / "control", _NO_DEADLINE, _LONG_QUEUE) as server:
        control = _load(server.port, world, 2 * capacity, 2 * seconds, None)
    progress(count + 1, count + 1, "done")
    return _judge(rounds, capacity, told, control, seconds)


def _round(server: Server, world: World, seconds: float) -> _Round:
    capacity, made, used_s = _capacity(server.port, world, seconds), dict[int, list[Outcome]](), dict[int, float]()
    for times in TIMES:
        before_s = cpu_s(server.process.pid)
        made[times] = _load(server.port, world, times * capacity, seconds, DEADLINE_S)
        used_s[times] = cpu_s(server.process.pid) - before_s
    return _Round(capacity, made, used_s)


@contextmanager
def _apart(releases: Path, folder: Path, settings: Settings, before: str = "") -> Iterator[Server]:
    """Serve on a core of its own."""
    bearing, making = cores_apart()
    with ExitStack() as stack:
        with pin_to_cores(bearing):
            server = stack.enter_context(serving(releases, folder, settings, before=before))
        stack.enter_context(pin_to_cores(making))
        yield server


def _capacity(port: int, world: World, seconds: float) -> float:
    """Return answers a second, in full, to clients that wait for them; the begin is not counted."""
    warm_s, asked = seconds / 4, recommend(world.users, _N, 30.0)
    made = run(closed_loop(port, _CLIENTS, lambda now_s: now_s < seconds, asked, 60.0))
    counted = [one for one in made if one.due_s + one.seconds > warm_s and one.status == 200 and not one.degraded]
    return len(counted) / (max(one.due_s + one.seconds for one in made) - warm_s)


def _load(port: int, world: World, rate: float, seconds: float, deadline_s: float | None) -> list[Outcome]:
    asked = recommend(world.users, _N, deadline_s)
    return run(open_loop(port, rate, seconds, asked, 4 * DEADLINE_S))


def _load_by_returning_clients(port: int, world: World, capacity: float, seconds: float) -> dict[str, Any]:
    """Return the figures of clients that come again when they are told, without the begin, when all come at once."""
    clients, asked = round(TIMES[-1] * capacity * PAUSE_S), recommend(world.users, _N, DEADLINE_S)
    made = run(returning_clients(port, clients, PAUSE_S, seconds, asked, 4 * DEADLINE_S))
    return _figures([one for one in made if one.due_s >= seconds / 3], 2 / 3 * seconds)


def _figures(made: list[Outcome], seconds: float) -> dict[str, Any]:
    good = [one for one in made if one.within(DEADLINE_S)]
    return {
        "asked_per_s": round(len(made) / seconds, 1),
        "in_time_per_s": round(len(good) / seconds, 1),
        "full_in_time_per_s": round(sum(not one.degraded for one in good) / seconds, 1),
        "p50_ms": percentile_ms(made, 50),
        "p99_ms": percentile_ms(made, 99),
        "caller_behind_p99_ms": round(1e3 * float(np.percentile([one.begun_s for one in made], 99)), 1),
        "statuses": dict(Counter(str(one.status) for one in made)),
        "degraded": dict(Counter(one.reason for one in made if one.degraded)),
    }


def _costs_ms(rounds: Sequence[_Round]) -> tuple[float, float]:
    """Return the milliseconds of processor time of an answer and of a rejection."""
    loads = [(one.made[times], one.cpu_s[times]) for one in rounds for times in TIMES]
    statuses = [Counter(outcome.status for outcome in made) for made, _ in loads]
    counts = np.array([[one[200], one[429]] for one in statuses])
    (answer_s, rejection_s), *_ = np.linalg.lstsq(counts, np.array([used_s for _, used_s in loads]), rcond=None)
    return 1e3 * float(answer_s), 1e3 * float(rejection_s)


def _judge(
    rounds: Sequence[_Round], capacity: float, told: dict[str, Any], control: list[Outcome], seconds: float
) -> TrialResult:
    said = "the same at 2 ×, no deadlines"
    control_figures = _figures(control, 2 * seconds)
    control_share, late_ms = control_figures["in_time_per_s"] / capacity, control_figures["p99_ms"]
    loads = {
        times: _figures([outcome for one in rounds for outcome in one.made[times]], len(rounds) * seconds)
        for times in TIMES
    }
    shares = {times: load["in_time_per_s"] / capacity for times, load in loads.items()}
    claims = [
        *(
            at_most(
                1e3 * DEADLINE_S, f"p99 of what is answered at {times} × capacity, ms", load["p99_ms"], said, late_ms
            )
            for times, load in loads.items()
        ),
        *(
            at_least(0.9, f"answers in time at {times} × capacity, of capacity", shares[times], said, control_share)
            for times in (2, 5)
        ),
        at_least(
            0.9,
            f"the same at {TIMES[-1]} × from clients that come again when they are told",
            told["in_time_per_s"] / capacity,
            said,
            control_share,
        ),
    ]
    answer_ms, rejection_ms = _costs_ms(rounds)
    return TrialResult(
        claims,
        {
            "capacity_per_s": [round(one.capacity, 1) for one in rounds],
            "in_time_per_s_by_round": {
                f"{times} ×": [_figures(one.made[times], seconds)["in_time_per_s"] for one in rounds] for times in TIMES
            },
            "cpu_ms": {"answer": round(answer_ms, 3), "rejection": round(rejection_ms, 4)},
            "deadline_ms": 1e3 * DEADLINE_S,
            "seconds": seconds,
            "loads": {f"{times} ×": load for times, load in loads.items()},
            "told_when_to_come": told,
            "control": control_figures,
        },
    )
