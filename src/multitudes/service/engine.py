"""The engine: one thread that answers whatever waits, together, with the release that serves at that moment.

What gathers while one batch is answered is the next batch, so a lone request never waits for company and a crowd
shares one call of the tower and one search. How much effort a request gets is decided when it comes (``admission``),
and looked at again when its turn comes; at the door a clock runs, so that nobody waits beyond the deadline for a search
that hangs.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Condition, Thread
from time import monotonic
from typing import NamedTuple, Protocol

from pydantic import Field

from multitudes.config import Config
from multitudes.errors import MultitudesError, UsageError
from multitudes.retrieve.ask import Ask, Effort
from multitudes.retrieve.cases import IN_TIME
from multitudes.retrieve.recommendation import Recommendation
from multitudes.retrieve.stages import Stage
from multitudes.service.admission import Admission, AdmissionConfig, Costs, Load, OverloadError, Priority, remaining
from multitudes.service.tickets import Answered, Ticket, Waiting

__all__ = ["Answered", "Engine", "EngineConfig", "EngineState"]

_POPULAR = f"{IN_TIME}: popular items"
_FAILED = "the retrieval failed: popular items"


class EngineConfig(Config):
    """Section [engine] of the service."""

    queue: int = Field(
        1_000, ge=1, description="Requests that may wait; beyond, they get popular items or are refused."
    )
    batch: int = Field(32, ge=1, description="Requests that are answered together at most.")
    patience: float = Field(
        0.9, gt=0, le=1, description="Share of its time after which a request that is not answered gets popular items."
    )


class Answers(Protocol):
    """What the engine needs of a retriever."""

    def answer(self, asks: Sequence[Ask], *, effort: Effort, stage: Stage) -> list[Recommendation]:
        """Answer several requests together."""
        ...

    def popular(self, ask: Ask, reason: str) -> Recommendation:
        """Answer with popular items."""
        ...


class EngineState(NamedTuple):
    """What an operator wants to know."""

    waiting: int
    ahead_s: float  # expected wait of an interactive request
    cost_s: dict[str, float]  # of one request, by effort
    counts: dict[str, int]  # answered by effort; refused, cancelled, late, failed


def nobody(ask: Ask, recommendation: Recommendation) -> None:
    """Look at no answer."""
    del ask, recommendation


class Engine:
    """Answers requests of any thread or event loop, in one thread of its own."""

    def __init__(
        self,
        current: Callable[[], Answers],
        config: EngineConfig | None = None,
        admission: AdmissionConfig | None = None,
        *,
        lag_s: Callable[[], float] = lambda: 0.0,
        after: Callable[[Ask, Recommendation], None] = nobody,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Set up; ``start`` begins to answer.

        Args:
            current: gives the retriever that serves now; asked once for each batch, which is answered by it alone.
            config: of the queue.
            admission: of what is taken.
            lag_s: how late the door is.
            after: looks at every answer that is not popular, once it was given, in the engine's thread.
            clock: any steady clock, in seconds.
        """
        self.config = config or EngineConfig()
        admission = admission or AdmissionConfig()
        self.admission = Admission(admission, Costs(admission.memory))
        self._current, self._lag_s, self._after, self._clock = current, lag_s, after, clock
        self._waiting, self._changed = Waiting(), Condition()
        self._running: tuple[float, float] | None = None  # when it began, how long it is expected to take
        self._counts: Counter[str] = Counter()
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

    async def answer(self, ask: Ask, deadline_s: float, priority: Priority = "interactive") -> Answered:
        """Answer a request within ``deadline_s`` from now, with as much effort as there is time for.

        Raises:
            UsageError: the request cannot be answered.
            OverloadError: there is no time for any answer.
        """
        return (await self.answer_all([ask], deadline_s, priority))[0]

    async def answer_all(self, asks: Sequence[Ask], deadline_s: float, priority: Priority = "batch") -> list[Answered]:
        """Answer several requests that came together: all of them, or none.

        Raises:
            UsageError: one of the requests cannot be answered.
            OverloadError: there is no time for an answer.
        """
        futures = [asyncio.wrap_future(future) for future in self.submit(asks, deadline_s, priority)]
        try:
            async with asyncio.timeout(self.config.patience * deadline_s):
                return list(await asyncio.gather(*futures))
        except TimeoutError:
            self._count("late", len(asks))
            return [self._answered_or_popular(ask, future) for ask, future in zip(asks, futures, strict=True)]

    def submit(self, asks: Sequence[Ask], deadline_s: float, priority: Priority) -> list["Future[Answered]"]:
        """Take requests that come together, and promise an answer to each.

        Raises:
            UsageError: one of the requests cannot be answered.
            OverloadError: there is no time for an answer.
        """
        for ask in asks:
            ask.check()
        now = self._clock()
        with self._changed:
            decision = self.admission.decide(self._load(priority, len(asks)), deadline_s, priority, now, len(asks))
            if decision.effort is None or self._closing:
                self._counts["refused"] += len(asks)
                raise OverloadError(
                    "more is asked than can be answered in time; ask again later, or with a longer deadline",
                    decision.retry_after_s,
                )
            tickets = [Ticket(ask, now + deadline_s, decision.effort, decision.probe, now) for ask in asks]
            if decision.effort < Effort.POPULAR:
                self._waiting.put(tickets, priority)
                self._changed.notify()
        if decision.effort == Effort.POPULAR:
            for ticket in tickets:
                ticket.answered.set_result(self._popular(ticket.ask, _POPULAR))
        return [ticket.answered for ticket in tickets]

    def state(self) -> EngineState:
        """Describe what goes on."""
        with self._changed:
            waiting, load = len(self._waiting), self._load("interactive", 0)
            costs = {effort.label: self.admission.costs.of(effort) for effort in Effort}
            return EngineState(waiting, load.ahead_s, costs, dict(self._counts))

    def step(self) -> int:
        """Answer one batch of what waits, in the calling thread; return how many requests it had."""
        tickets = self._take()
        try:
            self._answer_batch(tickets)
        except Exception as error:  # a defect: whoever waits is told, and the engine goes on
            logging.getLogger(__name__).exception("a batch failed")
            for ticket in tickets:
                if not ticket.answered.done():
                    ticket.answered.set_exception(error)
        with self._changed:
            self._running = None
        return len(tickets)

    def _answer_batch(self, tickets: list[Ticket]) -> None:
        # The release is held by this call alone: one that was replaced is free as soon as its last batch is answered.
        retriever, now = self._current(), self._clock()
        efforts = [t.effort if t.probe else self.admission.affordable(t.effort, t.due_s - now) for t in tickets]
        for effort in sorted(set(efforts)):
            self._answer(retriever, effort, [t for t, e in zip(tickets, efforts, strict=True) if e == effort])

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or len(self._waiting) > 0)
                if self._closing and not len(self._waiting):
                    return
            self.step()

    def _load(self, priority: Priority, more: int) -> Load:
        """Return what stands before ``more`` requests of that priority; called with the lock held."""
        before = self._waiting.before(priority)
        ahead_s = sum(count * self.admission.costs.of(effort) for effort, count in before.items())
        if self._running is not None:
            began, expected_s = self._running
            ahead_s += remaining(expected_s, self._clock() - began)
        return Load(ahead_s, self._lag_s(), len(self._waiting) + more > self.config.queue)

    def _take(self) -> list[Ticket]:
        """Take the next batch, and note that it runs."""
        with self._changed:
            tickets, dropped = self._waiting.take(self.config.batch)
            self._counts["cancelled"] += dropped
            self._running = self._clock(), sum(self.admission.costs.of(ticket.effort) for ticket in tickets)
        return tickets

    def _answer(self, retriever: Answers, effort: Effort, tickets: list[Ticket]) -> None:
        """Answer some of a batch with the same effort; what fails together is tried one by one."""
        began, stages = self._clock(), _Stages(self._clock)
        try:
            if effort == Effort.POPULAR:
                answers = [retriever.popular(ticket.ask, _POPULAR) for ticket in tickets]
            else:
                answers = retriever.answer([ticket.ask for ticket in tickets], effort=effort, stage=stages)
        except Exception as error:
            if len(tickets) == 1:
                self._failed(retriever, tickets[0], error)
                return
            for ticket in tickets:
                self._answer(retriever, effort, [ticket])
            return
        self.admission.costs.measured(effort, len(tickets), self._clock() - began)
        self._count(effort.label, len(tickets))
        for ticket, answer in zip(tickets, answers, strict=True):
            ticket.answered.set_result(Answered(answer, began - ticket.since_s, stages.seconds))
        if effort < Effort.POPULAR:
            for ticket, answer in zip(tickets, answers, strict=True):
                self._after(ticket.ask, answer)

    def _count(self, what: str, requests: int = 1) -> None:
        with self._changed:
            self._counts[what] += requests

    def _failed(self, retriever: Answers, ticket: Ticket, error: Exception) -> None:
        """Answer a request whose retrieval failed: a wrong request is told so, anybody else gets popular items."""
        if isinstance(error, UsageError):
            ticket.answered.set_exception(error)
            return
        self._count("failed")
        known = isinstance(error, MultitudesError)
        logging.getLogger(__name__).error("retrieval failed: %s", error, exc_info=None if known else error)
        try:
            ticket.answered.set_result(Answered(retriever.popular(ticket.ask, _FAILED), 0.0, {}))
        except Exception as second:
            ticket.answered.set_exception(second)

    def _popular(self, ask: Ask, reason: str) -> Answered:
        """Answer at the door."""
        began = self._clock()
        answer = self._current().popular(ask, reason)
        self.admission.costs.measured(Effort.POPULAR, 1, self._clock() - began)
        self._count(Effort.POPULAR.label)
        return Answered(answer, 0.0, {})

    def _answered_or_popular(self, ask: Ask, future: "asyncio.Future[Answered]") -> Answered:
        if future.done() and not future.cancelled() and future.exception() is None:
            return future.result()
        return self._popular(ask, _POPULAR)


class _Stages:
    """Notes when each stage of a batch ends."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._last_s = clock, clock()
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str) -> None:
        now = self._clock()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last_s
        self._last_s = now
