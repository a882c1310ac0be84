"""Load on a service: open (requests come when they come) or closed (each client waits for its answer).

In an open loop a request's time counts from when it was due, not from when it could be sent: a service that falls
behind is not spared the requests that pile up. Who makes the load shares the machine with who bears it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from multitudes.seeding import generator
from reliability.connection import Connection, post

NO_ANSWER = 0  # in place of a status: the connection ended, or the caller's patience
Requests = Callable[[int], bytes]  # the n-th request


class Outcome(NamedTuple):
    """What came of one request."""

    due_s: float  # from the begin of the load
    seconds: float  # from then to the answer
    status: int
    degraded: bool = False
    reason: str = ""
    begun_s: float = 0.0  # from when it was due until the caller began: how far who makes the load is behind
    retry_after_s: float = 0.0  # when a rejection says to come again

    def within(self, deadline_s: float) -> bool:
        """Tell whether it was answered in time."""
        return self.status == 200 and self.seconds <= deadline_s


def recommend(users: int, n: int, deadline_s: float | None = None) -> Requests:
    """Return requests for candidates, of one user after another."""
    headers = () if deadline_s is None else (f"x-deadline-ms: {round(deadline_s * 1e3)}",)

    def nth(number: int) -> bytes:
        body = {"user_id": 1 + (7919 * number) % users, "n": n}
        return post("/v1/recommend", body, *headers)

    return nth


class Caller:
    """Keeps the connections to one service, and notes what comes of requests."""

    def __init__(self, port: int, patience_s: float, source: str = "127.0.0.1") -> None:
        self._port, self._patience_s, self._source, self._idle = port, patience_s, source, list[Connection]()
        self.outcomes = list[Outcome]()
        self._began_s = perf_counter()

    def now_s(self) -> float:
        """Return the seconds since the begin."""
        return perf_counter() - self._began_s

    async def call(self, asked: bytes, due_s: float | None = None) -> Outcome:
        """Send a request on an idle connection, or on a new one, and note its outcome."""
        due_s = self.now_s() if due_s is None else due_s
        begun_s = self.now_s() - due_s
        outcome = (await self._outcome(asked, due_s))._replace(begun_s=begun_s)
        self.outcomes.append(outcome)
        return outcome

    async def _outcome(self, asked: bytes, due_s: float) -> Outcome:
        connection = None
        try:
            async with asyncio.timeout(self._patience_s):
                connection = self._idle.pop() if self._idle else await Connection.to(self._port, self._source)
                answer = await connection.ask(asked)
        except (OSError, TimeoutError) as error:
            if connection is not None:
                connection.close()
            return Outcome(due_s, self.now_s() - due_s, NO_ANSWER, reason=type(error).__name__)
        self._idle.append(connection)
        degraded, reason = _read_degraded(answer.body)
        seconds = self.now_s() - due_s
        return Outcome(due_s, seconds, answer.status, degraded, reason, retry_after_s=answer.retry_after_s)

    def close(self) -> None:
        """Close the connections."""
        while self._idle:
            self._idle.pop().close()


async def open_loop(
    port: int, rate: float, seconds: float, requests: Requests, patience_s: float, source: str = "127.0.0.1"
) -> list[Outcome]:
    """Send ``rate`` requests a second, at moments drawn at random, whether they are answered or not."""
    caller, running = Caller(port, patience_s, source), set[asyncio.Task[Outcome]]()
    gaps_s = generator(0, "arrivals").exponential(1 / rate, max(1, round(rate * seconds)))
    for number, due_s in enumerate(np.cumsum(gaps_s).tolist()):
        await asyncio.sleep(max(0.0, due_s - caller.now_s()))
        task = asyncio.create_task(caller.call(requests(number), due_s))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    caller.close()
    return caller.outcomes


async def closed_loop(
    port: int, clients: int, go_on: Callable[[float], bool], requests: Requests, patience_s: float
) -> list[Outcome]:
    """Let clients ask one request after another, as long as ``go_on(seconds since the begin)``."""
    caller, numbers = Caller(port, patience_s), iter(range(1 << 60))

    async def client() -> None:
        while go_on(caller.now_s()):
            outcome = await caller.call(requests(next(numbers)))
            if outcome.status == NO_ANSWER:
                await asyncio.sleep(0.01)  # nobody there: a client that waits a moment

    await asyncio.gather(*(client() for _ in range(clients)))
    caller.close()
    return caller.outcomes


async def returning_clients(
    port: int, clients: int, pause_s: float, seconds: float, requests: Requests, patience_s: float
) -> list[Outcome]:
    """Let clients ask again and again, ``pause_s`` after an answer on average; a rejected one comes when it is told."""
    caller, numbers, draw = Caller(port, patience_s), iter(range(1 << 60)), generator(0, "pauses")

    async def client() -> None:
        wait_s = draw.exponential(pause_s)
        while caller.now_s() + wait_s < seconds:
            await asyncio.sleep(wait_s)
            outcome = await caller.call(requests(next(numbers)))
            wait_s = outcome.retry_after_s or draw.exponential(pause_s)

    await asyncio.gather(*(client() for _ in range(clients)))
    caller.close()
    return caller.outcomes


def percentile_ms(outcomes: Sequence[Outcome], percent: float) -> float:
    """Return a percentile of the milliseconds of what was answered with 200; of all patience, where nothing was."""
    seconds = [outcome.seconds for outcome in outcomes if outcome.status == 200]
    return round(1e3 * float(np.percentile(seconds or [outcome.seconds for outcome in outcomes], percent)), 1)


def _read_degraded(body: bytes) -> tuple[bool, str]:
    """Read from the begin of an answer whether it is degraded, and why; reading all of it would cost too much."""
    head = body[:600]
    if b'"degraded":true' not in head:
        return False, ""
    return True, head.partition(b'"reason":"')[2].partition(b'"')[0].decode("utf-8", "replace")


@asynccontextmanager
async def running(*made: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines until the end of the block."""
    tasks = [asyncio.create_task(one) for one in made]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
