"""D24: a client takes all that it can get and waits after no rejection; a modest one beside it is served as before.

Without keys, clients are told apart by their address and its network. The greedy client has one address, from which it
writes events or asks for batches, and then 300 addresses of two networks. Against one with addresses in many networks
no service without keys can do anything.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.process import memory_field_mib

from multitudes.progress import Progress
from reliability.claims import TrialResult, at_least, at_most
from reliability.codes import Code, both
from reliability.connection import Connection, post, run
from reliability.load import Outcome, open_loop, percentile_ms, recommend, running
from reliability.server import Server
from reliability.world import World

_COMMIT = "eaed4ff"  # the attacks were first made on it
_CONTROL = f"commit {_COMMIT}"
_WORLD, _RATE, _PATIENCE_S = World(items=20_000, users=300), 10.0, 10.0
_GREEDY, _MODEST = "127.0.0.2", "127.1.0.1"
_ADDRESSES = [f"127.2.{n // 150}.{1 + n % 150}" for n in range(300)]
_WRITERS, _EVENTS, _EVENT_RATE = 20, 500, 8.0
_BATCH_CONNECTIONS, _PIPELINED = 100, 3
_BATCH_PAUSE_S, _BATCH_USERS = 1.0, 64  # of the modest client: between its batches, and users of each
_REJECTED_S = 0.1  # until one of 300 addresses asks again: who makes the load has to bear it
# A store that takes 3 ms for each event: more than the second that a write may take for 500, no time for one.
_SLOW_STORE = """
import time
from multitudes.state.sqlite import SQLiteStateStore
append = SQLiteStateStore.append
def slow(store, events):
    time.sleep(0.003 * len(events))
    return append(store, events)
SQLiteStateStore.append = slow
"""
_ASK = post("/v1/recommend", {"user_id": 1, "n": 100})


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Write events, ask for batches, and ask from many addresses."""
    seconds = max(5.0, 10 * scale)

    def attack(code: Code) -> dict[str, Any]:
        code.publish(_WORLD)
        found: dict[str, Any] = {}
        for beside in (_beside_events, _beside_batches, _beside_addresses):
            with code.serving(before=_SLOW_STORE) as server:
                found |= run(beside(server, seconds))
        return found

    now, before = both(folder, attack, progress, _COMMIT)
    batches = f"beside {_BATCH_CONNECTIONS} × {_PIPELINED} batches"
    most = {
        "events_lost": (0.05, "beside a flood of events, share of another's events that are not stored"),
        "stateless": (0.05, "beside a flood of events, share of another's answers without the user state"),
        "batch_mib": (64.0, f"MiB that {_BATCH_CONNECTIONS} × {_PIPELINED} batches add"),
        "batches_lost": (0.1, f"{batches}, share of another's batches that are not answered in full"),
        "own_p99_ms": (500.0, f"{batches}, p99 of the same client's single requests, ms"),
    }
    claims = [at_most(bound, text, now[name], _CONTROL, before[name]) for name, (bound, text) in most.items()]
    text = f"beside {len(_ADDRESSES)} addresses, share of another's requests that are answered"
    claims.append(at_least(0.9, text, now["answered"], _CONTROL, before["answered"]))
    return TrialResult(claims, {"seconds": seconds, "now": now, "before": before})


async def _beside_events(server: Server, seconds: float) -> dict[str, Any]:
    numbers = count(1)

    def event(number: int) -> bytes:
        return post("/v1/events", {"events": [_WORLD.event(-1 - number)]})

    def flood() -> bytes:
        return post("/v1/events", {"events": [_WORLD.event(next(numbers)) for _ in range(_EVENTS)]})

    alone = await _single(server, 2.0)
    async with _flood(server, [_GREEDY] * _WRITERS, flood) as statuses:
        await asyncio.sleep(1)
        events, made = await asyncio.gather(
            open_loop(server.port, _EVENT_RATE, seconds, event, _PATIENCE_S, _MODEST), _single(server, seconds)
        )
    with_state = sum(one.status == 200 and not one.reason.startswith("the store") for one in made)
    return {
        "events_lost": round(sum(one.status != 200 for one in events) / len(events), 3),
        "stateless": round(1 - with_state / len(made), 3),
        "events": _statuses(events),
        "p99_ms_alone_events_single": [percentile_ms(some, 99) for some in (alone, events, made)],
        "flood_of_events": dict(statuses),
    }


async def _beside_batches(server: Server, seconds: float) -> dict[str, Any]:
    alone = await _single(server, 2.0)
    before_mib, peak_mib, others = _resident_mib(server), 0.0, Counter[str]()

    async def ask_for_batches() -> None:
        connection = await Connection.to(server.port, _MODEST)
        while True:
            await asyncio.sleep(_BATCH_PAUSE_S)
            answer = await connection.ask(_batch(_BATCH_USERS))
            others["degraded" if b'"degraded":true' in answer.body else str(answer.status)] += 1

    async def watch() -> None:
        nonlocal peak_mib
        while True:
            peak_mib = max(peak_mib, _resident_mib(server))
            await asyncio.sleep(0.02)

    sources = [_GREEDY] * _BATCH_CONNECTIONS
    async with (
        _flood(server, sources, lambda: _batch(256), _PIPELINED) as statuses,
        running(ask_for_batches(), watch()),
    ):
        made = await _single(server, seconds, _GREEDY)
    return {
        "batch_mib": round(peak_mib - before_mib, 1),
        "batches_lost": round(1 - others["200"] / max(others.total(), 1), 3),
        "own_p99_ms": percentile_ms(made, 99),
        "alone_p99_ms": percentile_ms(alone, 99),
        "own": _statuses(made),
        "others_batches": dict(others),
        "flood_of_batches": dict(statuses),
    }


async def _beside_addresses(server: Server, seconds: float) -> dict[str, Any]:
    async with _flood(server, _ADDRESSES, lambda: _ASK, pause_s=_REJECTED_S) as statuses:
        await asyncio.sleep(3)
        made = await _single(server, seconds)
    answered = sum(one.status == 200 for one in made) / len(made)
    return {"answered": round(answered, 3), "modest": _statuses(made), "addresses": dict(statuses)}


async def _single(server: Server, seconds: float, source: str = _MODEST) -> list[Outcome]:
    return await open_loop(server.port, _RATE, seconds, recommend(_WORLD.users, 20), _PATIENCE_S, source)


@asynccontextmanager
async def _flood(
    server: Server, sources: Sequence[str], request: Callable[[], bytes], pipelined: int = 1, pause_s: float = 0.0
) -> AsyncIterator[Counter[str]]:
    """Ask on a connection from each source until the end of the block; yield the statuses of the answers so far.

    What was rejected is sent again, after a pause.
    """
    statuses = Counter[str]()

    async def ask(source: str) -> None:
        connection, asked = await Connection.to(server.port, source), request()
        while True:
            await connection.send(pipelined * asked)
            for _ in range(pipelined):
                status = (await connection.answer()).status
                statuses[str(status)] += 1
            if status == 200:
                asked = request()
            else:
                await asyncio.sleep(pause_s)

    async with running(*(ask(source) for source in sources)):
        yield statuses


def _statuses(made: Sequence[Outcome]) -> dict[str, int]:
    return dict(Counter(f"{one.status}{' degraded' * one.degraded}" for one in made))


def _resident_mib(server: Server) -> float:
    return memory_field_mib("VmRSS", server.process.pid)


def _batch(users: int) -> bytes:
    return post("/v1/recommend/batch", {"requests": [{"user_id": 1 + user, "n": 100} for user in range(users)]})
