"""The engine: one thread that answers whatever waits, together, with the release that serves at that moment.

What gathers while one batch is answered is the next batch, so a lone request never waits for company and a crowd
shares one call of the tower and one search. How much effort a request gets is decided when it comes (``admission``),
and looked at again when its turn comes; at the door a clock runs, so that nobody waits beyond the deadline for a search
that hangs.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Condition, Thread
from time import monotonic
from typing import NamedTuple

from pydantic import Field

from multitudes.config import Config
from multitudes.retrieval.request import Degradation, Request
from multitudes.retrieval.response import Recommendation
from multitudes.service.admission import (
    OVERLOADED,
    AdmissionConfig,
    AdmissionController,
    Costs,
    Load,
    OverloadError,
    Priority,
    expected_remaining_s,
)
from multitudes.service.batch_executor import BatchExecutor, Recommender
from multitudes.service.request_queue import EngineAnswer, QueuedRequest, RequestQueue


class EngineConfig(Config):
    """Section [engine] of the service."""

    queue: int = Field(
        1_000, ge=1, description="Requests that may wait; beyond, they get popular items or are refused."
    )
    batch: int = Field(16, ge=1, description="Requests that are answered together at most.")
    batch_s: float = Field(
        0.05,
        gt=0,
        description="They are expected to take so many seconds at most: all wait until the last is answered. Nobody is"
        " answered together with others who would make them late.",
    )
    fallback_share: float = Field(
        0.9, gt=0, le=1, description="Share of its time after which a request that is not answered gets popular items."
    )


class EngineState(NamedTuple):
    """What an operator wants to know."""

    queued: int
    backlog_s: float  # expected wait of an interactive request
    cost_s: dict[str, float]  # of one request, by effort
    counts: dict[str, int]  # answered by effort; refused, cancelled, late, failed


def ignore_answer(ask: Request, recommendation: Recommendation) -> None:
    """Look at no answer: the default."""
    del ask, recommendation


class Engine:
    """Answers requests of any thread or event loop, in one thread of its own."""

    def __init__(
        self,
        get_retriever: Callable[[], Recommender],
        config: EngineConfig | None = None,
        admission: AdmissionConfig | None = None,
        *,
        lag_s: Callable[[], float] = lambda: 0.0,
        on_answer: Callable[[Request, Recommendation], None] = ignore_answer,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Set up; ``start`` begins to answer.

        Args:
            get_retriever: gives the retriever that serves now; asked once for each batch, which is answered by it alone.
            config: of the queue.
            admission: of what is taken.
            lag_s: how late the door is.
            on_answer: looks at every answer that is not popular, once it was given, in the engine's thread.
            clock: any steady clock, in seconds.
        """
        self.config = config or EngineConfig()
        admission = admission or AdmissionConfig()
        self.admission = AdmissionController(admission, Costs(admission.smoothing))
        self._executor = BatchExecutor(get_retriever, self.admission, on_answer, clock)
        self._lag_s, self._clock = lag_s, clock
        self._queue, self._changed = RequestQueue(), Condition()
        self._running: tuple[float, float] | None = None  # when it began, how long it is expected to take
        self._closing = False
        self._thread = Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer what was accepted, and stop; whoever comes later is refused."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    async def answer(self, ask: Request, deadline_s: float, priority: Priority = "interactive") -> EngineAnswer:
        """Answer a request within ``deadline_s`` from now, with as much effort as there is time for.

        Raises:
            UsageError: the request cannot be answered.
            OverloadError: there is no time for any answer.
        """
        return (await self.answer_batch([ask], deadline_s, priority))[0]

    async def answer_batch(
        self, asks: Sequence[Request], deadline_s: float, priority: Priority = "batch"
    ) -> list[EngineAnswer]:
        """Answer several requests that came together: all of them, or none.

        Raises:
            UsageError: one of the requests cannot be answered.
            OverloadError: there is no time for an answer.
        """
        futures = [asyncio.wrap_future(future) for future in self.submit(asks, deadline_s, priority)]
        try:
            async with asyncio.timeout(self.config.fallback_share * deadline_s):
                return list(await asyncio.gather(*futures))
        except TimeoutError:
            self._executor.counts.add("late", len(asks))
            return [
                future.result() if _is_successful(future) else self._executor.answer_popular(ask)
                for ask, future in zip(asks, futures, strict=True)
            ]

    def submit(self, asks: Sequence[Request], deadline_s: float, priority: Priority) -> list["Future[EngineAnswer]"]:
        """Take requests that come together, and promise an answer to each.

        Raises:
            OverloadError: there is no time for an answer.
        """
        now = self._clock()
        with self._changed:
            load = self._load(priority, len(asks))
            decision = self.admission.decide(load, deadline_s, priority, now, len(asks))
            if decision.degradation is None or self._closing:
                self._executor.counts.add("refused", len(asks))
                raise OverloadError(
                    OVERLOADED,
                    decision.retry_after_s,
                    "closing" if self._closing else "queue" if load.queue_full else "time",
                )
            tickets = [QueuedRequest(ask, now + deadline_s, decision.degradation, decision.probe, now) for ask in asks]
            if decision.degradation < Degradation.POPULAR:
                self._queue.put(tickets, priority)
                self._changed.notify()
        if decision.degradation == Degradation.POPULAR:
            for ticket in tickets:
                ticket.future.set_result(self._executor.answer_popular(ticket.request))
        return [ticket.future for ticket in tickets]

    def state(self) -> EngineState:
        """Describe what goes on."""
        with self._changed:
            waiting, load = len(self._queue), self._load("interactive", 0)
            costs = {effort.label: self.admission.costs.cost_s(effort) for effort in Degradation}
            return EngineState(waiting, load.backlog_s, costs, self._executor.counts.totals())

    def step(self) -> int:
        """Answer one batch of what waits, in the calling thread; return how many requests it had."""
        with self._changed:
            now_s, config = self._clock(), self.config
            batch = self._queue.take(config.batch, self.admission.costs.cost_s, config.batch_s, now_s)
            self._running = now_s, batch.expected_s
        if batch.cancelled:
            self._executor.counts.add("cancelled", batch.cancelled)
        self._executor.execute(batch)
        with self._changed:
            self._running = None
        return len(batch.requests)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or len(self._queue) > 0)
                if self._closing and not len(self._queue):
                    return
            self.step()

    def _load(self, priority: Priority, more: int) -> Load:
        """Return what stands before ``more`` requests of that priority; called with the lock held."""
        before = self._queue.count_before(priority)
        ahead_s = sum(count * self.admission.costs.cost_s(effort) for effort, count in before.items())
        if self._running is not None:
            began, expected_s = self._running
            ahead_s += expected_remaining_s(expected_s, self._clock() - began)
        return Load(ahead_s, self._lag_s(), len(self._queue) + more > self.config.queue)


def _is_successful(future: "asyncio.Future[EngineAnswer]") -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
