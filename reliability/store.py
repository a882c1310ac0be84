"""A Redis server that hangs, is cut off by the network, or dies: answers come in time, marked, and recover afterwards.

Cut off: the server runs in a network namespace of its own, which for a while sends its packets nowhere, so that whoever
asks hears nothing, not even a refusal. The control waits for its store, as a service without the guard would.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from tests.state.redis_server import PROGRAM, WHY_NOT, RedisServer

from multitudes.progress import Progress
from reliability.claims import Claim, TrialResult, at_least, at_most, at_scale
from reliability.connection import run
from reliability.load import Outcome, open_loop, percentile_ms, recommend
from reliability.network import Cut, why_not
from reliability.server import Settings, serving
from reliability.world import World, publish_world

DEADLINE_S = 0.5
_RATE, _RECOVERY_S = 20.0, 15.0
_STATELESS = "the store of user states"  # how the reason of an answer without user states begins


class Harm(NamedTuple):
    """Something that is done to the store, and how it is undone."""

    name: str
    do: Callable[[], object]
    undo: Callable[[], object]


# A guard whose circuit breaker never opens, and with a thread for each request.
_PATIENT = """
from functools import partial
from multitudes.service import startup
startup.GuardConfig = partial(startup.GuardConfig, threads=64, failures=1_000_000)
"""


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Harm the store in three ways under a steady load."""
    if PROGRAM is None:
        return TrialResult([], {}, WHY_NOT)
    world = World(items=at_scale(20_000, scale, 200), users=at_scale(2_000, scale, 50))
    publish_world(folder / "releases", world=world)
    seconds, figures = max(2.0, 20 * scale), dict[str, Any]()
    with ExitStack() as stack:
        redis = RedisServer(folder).start()
        stack.callback(redis.kill)
        harms = [Harm("hangs", redis.pause, redis.resume), Harm("dies", redis.kill, redis.start)]
        guarded: Settings = {"state": {"store": redis.url}}
        figures |= _measure_harms(folder, guarded, harms, world, seconds, progress)
        control = _control(folder, redis, world, seconds)
    skipped = why_not()
    if not skipped:
        with Cut(folder) as cut:
            figures |= _measure_harms(
                folder, {"state": {"store": cut.url}}, [Harm("is cut off", cut.cut, cut.mend)], world, seconds, progress
            )
    return TrialResult(_claims(figures, control), figures | {"control": control}, skipped)


def _measure_harms(
    folder: Path, settings: Settings, harms: Sequence[Harm], world: World, seconds: float, progress: Progress
) -> dict[str, Any]:
    """Return what came of requests before, during and after each harm."""
    figures = {}
    with serving(folder / "releases", folder / "service", settings) as server:
        for done, harm in enumerate(harms):
            progress(done, len(harms), harm.name)
            _wait_for_recovery(server.port, world)
            before = _load(server.port, world, seconds / 4, DEADLINE_S)
            harm.do()
            during = _load(server.port, world, seconds, DEADLINE_S)
            harm.undo()
            recovered_s = _wait_for_recovery(server.port, world)
            after = _load(server.port, world, seconds / 4, DEADLINE_S)
            phases = {"before": _figures(before), "during": _figures(during), "after": _figures(after)}
            figures[harm.name] = {**phases, "recovered_s": recovered_s}
    return figures


def _control(folder: Path, redis: RedisServer, world: World, seconds: float) -> dict[str, Any]:
    """Let the store hang for a service that waits for it."""
    settings: Settings = {
        "state": {"store": redis.url, "read_s": 30, "write_s": 30},
        "deadlines": {"default_ms": 60_000, "max_ms": 60_000},
    }
    with serving(folder / "releases", folder / "control", settings, before=_PATIENT) as server:
        _load(server.port, world, 1.0, None)
        redis.pause()
        during = _load(server.port, world, seconds, None)
        redis.resume()
    return _figures(during)


def _load(port: int, world: World, seconds: float, deadline_s: float | None) -> list[Outcome]:
    asked = recommend(world.users, 100, deadline_s)
    return run(open_loop(port, _RATE, seconds, asked, 4 * DEADLINE_S))


def _wait_for_recovery(port: int, world: World) -> float:
    """Wait until answers know the user states, but not for ever; return for how many seconds."""
    began = time.monotonic()
    while time.monotonic() - began < _RECOVERY_S:
        made = _load(port, world, 0.25, DEADLINE_S)
        if not any(one.reason.startswith(_STATELESS) or one.status != 200 for one in made):
            break
    return round(time.monotonic() - began, 2)


def _figures(made: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "requests": len(made),
        "late_or_failed": sum(not one.within(DEADLINE_S) for one in made),
        "unmarked": sum(one.status == 200 and not one.degraded for one in made),
        "with_state": sum(one.status == 200 and not one.reason.startswith(_STATELESS) for one in made),
        "p99_ms": percentile_ms(made, 99),
        "statuses": dict(Counter(str(one.status) for one in made)),
        "degraded": dict(Counter(one.reason for one in made if one.degraded)),
    }


def _claims(figures: dict[str, Any], control: dict[str, Any]) -> list[Claim]:
    claims = []
    for name, one in figures.items():
        before, during, after = one["before"], one["during"], one["after"]
        late = _share(during, "late_or_failed"), "waits for its store", _share(control, "late_or_failed")
        unmarked = _share(during, "unmarked"), "the store is well", _share(before, "unmarked")
        known = _share(after, "with_state"), "while it lasts", _share(during, "with_state")
        claims += [
            at_most(0.0, f"the store {name}: share not answered in time", *late),
            at_most(0.0, f"the store {name}: share of requests with an unmarked answer", *unmarked),
            at_least(1.0, f"the store {name}: share with user states afterwards", *known),
        ]
    return claims


def _share(figures: dict[str, Any], what: str) -> float:
    return float(figures[what] / figures["requests"])
