"""Two replicas on one Redis behind a proxy, one of them killed under load.

No event is lost, and who is not in the middle of a request notices nothing.

The proxy is the trial's own: it gives each request to the replicas in turn, and leaves out one that cannot be reached.
What it had given to the one that dies is cut off with it. The controls: a proxy that leaves nobody out, and replicas
that keep their user states each for themselves.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from tests.state.redis_server import PROGRAM, WHY_NOT, RedisServer

from multitudes.progress import Progress
from reliability.claims import Found, at_most
from reliability.connection import Answer, Connection, post, request, run
from reliability.server import Server, Settings, serving
from reliability.world import FIRST_ITEM, World, publish_world

_CLIENTS, _USERS = 4, 50
_UNHURRIED: Settings = {"deadlines": {"default_ms": 20_000}, "state": {"read_s": 5, "write_s": 5}}


class Seen(NamedTuple):
    """What came of the requests."""

    requests: int
    in_flight: int  # requests that failed, and had begun before the replica was gone
    errors: Counter[str]  # of requests that began afterwards, by what went wrong
    acknowledged: dict[int, set[str]]  # names of events, by user


def trial(scale: float, folder: Path, progress: Progress) -> Found:
    """Kill a replica under load; once as it is meant, and once for each control."""
    if PROGRAM is None:
        return Found([], {}, WHY_NOT)
    publish_world(folder / "releases", world=World(items=200, users=_USERS))
    seconds = max(1.0, 20 * scale)
    redis = RedisServer(folder).start()
    try:
        shared: Mapping[str, Mapping[str, Any]] = {**_UNHURRIED, "state": {**_UNHURRIED["state"], "store": redis.url}}
        progress(0, 3, "one store, a proxy that leaves out the dead")
        seen, kept = _killed(folder, "service", shared, seconds, heeds=True)
        progress(1, 3, "control: a proxy that leaves out nobody")
        blind, _ = _killed(folder, "blind", shared, min(seconds, 3.0), heeds=False)
    finally:
        redis.kill()
    progress(2, 3, "control: a store for each")
    apart, kept_apart = _killed(folder, "apart", _UNHURRIED, min(seconds, 3.0), heeds=True)
    return Found(
        [
            at_most(
                0, "acknowledged events that are lost", _lost(seen, kept), "a store for each", _lost(apart, kept_apart)
            ),
            at_most(
                0,
                "errors of requests that were not in flight",
                seen.errors.total(),
                "a proxy that leaves out nobody",
                blind.errors.total(),
            ),
        ],
        {
            "seconds": seconds,
            "requests": seen.requests,
            "failed_in_flight": seen.in_flight,
            "errors": dict(seen.errors),
            "acknowledged": sum(map(len, seen.acknowledged.values())),
        },
    )


def _killed(
    folder: Path, name: str, settings: Settings, seconds: float, *, heeds: bool
) -> tuple[Seen, dict[int, set[str]]]:
    """Kill one of two replicas in the middle; return what was seen, and what the other then knows of the users."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(serving(folder / "releases", folder / f"{name}-{number}", settings))
            for number in (1, 2)
        ]
        return run(_loaded(Proxy(servers, heeds=heeds), servers, seconds))


async def _loaded(proxy: "Proxy", servers: Sequence[Server], seconds: float) -> tuple[Seen, dict[int, set[str]]]:
    clock, numbers = asyncio.get_running_loop(), count()
    end_s, failed = clock.time() + seconds, list[tuple[float, str]]()
    acknowledged: dict[int, set[str]] = {user: set() for user in range(1, _USERS + 1)}

    async def client() -> None:
        while clock.time() < end_s:
            number = next(numbers)
            user, event, writes = 1 + number % _USERS, f"e-{number}", number % 3 > 0
            began_s = clock.time()
            answer = await proxy.ask(_event(user, event) if writes else _recommend(user))
            if answer is None or answer.status != 200:
                failed.append((began_s, "no answer" if answer is None else str(answer.status)))
            elif writes:
                acknowledged[user].add(event)

    clients = [asyncio.create_task(client()) for _ in range(_CLIENTS)]
    await asyncio.sleep(seconds / 2)
    await asyncio.to_thread(servers[0].kill)
    gone_s = clock.time()  # a process that is killed takes a moment to let go of its address
    await asyncio.gather(*clients)
    kept = {user: await _known(servers[1], user) for user in acknowledged}
    errors = Counter(why for began_s, why in failed if began_s > gone_s)
    return Seen(next(numbers), len(failed) - errors.total(), errors, acknowledged), kept


class Proxy:
    """Gives each request to the replicas in turn."""

    def __init__(self, servers: Sequence[Server], *, heeds: bool) -> None:
        self._ports, self._heeds = [server.port for server in servers], heeds
        self._idle: list[list[Connection]] = [[] for _ in servers]
        self._turn = count()

    async def ask(self, asked: bytes) -> Answer | None:
        """Return an answer, or None where whoever had the request is gone with it."""
        first = next(self._turn)
        for later in range(len(self._ports)):
            replica = (first + later) % len(self._ports)
            connection = await self._reached(replica)
            if connection is not None:
                return await self._answer(replica, connection, asked)
            if not self._heeds:
                return None
        return None

    async def _reached(self, replica: int) -> Connection | None:
        """Return a connection on which nothing was sent yet, or None: the replica cannot be reached."""
        while self._idle[replica]:
            connection = self._idle[replica].pop()
            if not connection.ended:
                return connection
        try:
            return await Connection.to(self._ports[replica])
        except OSError:
            return None

    async def _answer(self, replica: int, connection: Connection, asked: bytes) -> Answer | None:
        try:
            answer = await connection.ask(asked)
        except OSError:
            return None
        self._idle[replica].append(connection)
        return answer


async def _known(server: Server, user: int) -> set[str]:
    """Return the names of a user's events that a replica knows."""
    connection = await Connection.to(server.port)
    answer = await connection.ask(request("GET", f"/v1/users/{user}"))
    connection.close()
    return {event["event_id"] for event in json.loads(answer.body)["events"]}


def _lost(seen: Seen, kept: Mapping[int, set[str]]) -> int:
    """Count the newest of each user's events that are not kept; older ones may have made room."""
    newest = {user: sorted(names, key=lambda name: int(name[2:]))[-100:] for user, names in seen.acknowledged.items()}
    return sum(len(set(names) - kept[user]) for user, names in newest.items())


def _event(user: int, name: str) -> bytes:
    event = {"event_id": name, "user_id": user, "item_id": FIRST_ITEM}
    return post("/v1/events", {"events": [event]})


def _recommend(user: int) -> bytes:
    return post("/v1/recommend", {"user_id": user, "n": 20})
