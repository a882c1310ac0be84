"""The engine: a worker thread that answers queued requests in batches, with the release that serves at that moment.

Requests that arrive while one batch is answered form the next batch. So a lone request never waits for others, and many
requests share one call of the tower and one search. ``admission`` decides the degradation of a request when it arrives,
and again when its turn comes. The caller waits with a timeout, so a search that hangs delays no answer beyond its
deadline.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Thread
from time import monotonic
from typing import NamedTuple

from multitudes.errors import UnavailableError, UsageError
from multitudes.retrieval.request import Degradation, Request, Shortfall, time_shortfall
from multitudes.retrieval.retriever import Retriever
from multitudes.service.admission import (
    OVERLOADED,
    AdmissionConfig,
    AdmissionController,
    Costs,
    Load,
    OverloadError,
    Priority,
    RejectionReason,
)
from multitudes.service.request_queue import Batch, EngineAnswer, QueuedRequest, RequestQueue

TOO_LITTLE_TIME = time_shortfall("popular items")
FAILED = Shortfall("failed", "the retrieval failed: popular items")
CountSetbacks = Callable[[str, int], None]  # of a kind, how many requests; any thread calls it


@dataclass(frozen=True)
class QueueConfig:
    """Bounds of the queue and of a batch."""

    queue: int = 2_000  # requests that may wait; further ones get popular items or are rejected
    batch: int = 16  # requests that are answered together, at most
    batch_s: float = 0.1  # expected seconds of a batch, at most: all its requests are answered at its end
    fallback_share: float = 0.9  # of its time, after which an unanswered request gets popular items


class EngineState(NamedTuple):
    """The state of the engine, for metrics."""

    queued: int
    backlog_s: float  # expected wait of an interactive request
    cost_s: dict[str, float]  # of one request, by level


class Engine:
    """Answers requests of any thread or event loop, in one thread."""

    def __init__(
        self,
        get_retriever: Callable[[], Retriever],
        config: QueueConfig | None = None,
        admission: AdmissionConfig | None = None,
        *,
        lag_s: Callable[[], float] = lambda: 0.0,
        count: CountSetbacks = lambda *_: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Create an engine; ``start`` starts its thread, which calls ``get_retriever`` once for each batch.

        ``lag_s`` returns the lag of the event loop; ``count`` counts requests that were late, failed or cancelled.
        """
        self.config = config or QueueConfig()
        admission = admission or AdmissionConfig()
        self.admission = AdmissionController(admission, Costs(admission.smoothing))
        self._get_retriever, self._lag_s, self._count, self._clock = get_retriever, lag_s, count, clock
        self._queue, self._changed = RequestQueue(), Condition()
        self._running: tuple[float, float] | None = None  # start and expected seconds of the batch
        self._closing = False
        self._thread = Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Answer the accepted requests and stop; later requests are rejected."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    async def answer(
        self, requests: Sequence[Request], deadline_s: float, priority: Priority
    ) -> AsyncIterator[EngineAnswer]:
        """Yield the answers to requests that arrive together, all or none, within ``deadline_s`` seconds.

        Each is as little degraded as the time allows. Who writes each before the next holds little of a large batch.

        Raises:
            UsageError: a request cannot be answered.
            OverloadError: there is no time for an answer.
        """
        until_s = asyncio.get_running_loop().time() + self.config.fallback_share * deadline_s
        futures = deque(map(asyncio.wrap_future, self.submit(requests, deadline_s, priority)))
        try:
            for request in requests:
                future = futures.popleft()
                try:
                    async with asyncio.timeout_at(until_s):
                        answer = await future
                except TimeoutError:
                    self._count("late", 1)
                    answer = self._answer_popular(request)
                yield answer
        finally:
            for future in futures:
                future.cancel()

    def submit(
        self, requests: Sequence[Request], deadline_s: float, priority: Priority
    ) -> list["Future[EngineAnswer]"]:
        """Accept requests that arrive together, and return a future of each answer.

        Raises:
            OverloadError: there is no time for an answer.
        """
        now_s = self._clock()
        with self._changed:
            load = self._load(priority, len(requests))
            decision = self.admission.decide(load, deadline_s, priority, now_s, len(requests))
            if decision.degradation is None or self._closing:
                reason: RejectionReason = "closing" if self._closing else "queue" if load.queue_full else "time"
                raise OverloadError(OVERLOADED, decision.retry_after_s, reason)
            due_s = now_s + deadline_s
            queued = [
                QueuedRequest(request, due_s, decision.degradation, decision.probe, now_s) for request in requests
            ]
            if decision.degradation < Degradation.POPULAR:
                self._queue.put(queued, priority)
                self._changed.notify()
        if decision.degradation == Degradation.POPULAR:
            for waiting in queued:
                waiting.future.set_result(self._answer_popular(waiting.request))
        return [waiting.future for waiting in queued]

    def state(self) -> EngineState:
        """Return the state now."""
        with self._changed:
            queued, load = len(self._queue), self._load("interactive", 0)
            costs = {level.label: self.admission.costs.cost_s(level) for level in Degradation}
            return EngineState(queued, load.backlog_s, costs)

    def step(self) -> int:
        """Answer one batch in the calling thread; return its number of requests."""
        with self._changed:
            now_s, config = self._clock(), self.config
            batch = self._queue.take(config.batch, self.admission.costs.cost_s, config.batch_s, now_s)
            self._running = now_s, batch.expected_s
        if batch.cancelled:
            self._count("cancelled", batch.cancelled)
        self._execute(batch)
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

    def _load(self, priority: Priority, new_requests: int) -> Load:
        """Return the work before ``new_requests`` of that priority; the caller holds the lock."""
        before = self._queue.count_before(priority)
        backlog_s = sum(count * self.admission.costs.cost_s(level) for level, count in before.items())
        if self._running is not None:
            start_s, expected_s = self._running
            # Work that is late is expected to be as late again, so work that hangs is soon known to hang.
            backlog_s += abs(expected_s - (self._clock() - start_s))
        return Load(backlog_s, self._lag_s(), len(self._queue) + new_requests > self.config.queue)

    def _execute(self, batch: Batch) -> None:
        """Answer a batch; when this returns, every request has its answer or its error."""
        try:
            # Only this call holds the retriever, so a replaced release is freed as soon as its last batch is answered.
            retriever, now_s = self._get_retriever(), self._clock()
            levels = [self._level_in_time(queued, batch.expected_s, now_s) for queued in batch.requests]
            for level in sorted(set(levels)):
                same_level = [queued for queued, own in zip(batch.requests, levels, strict=True) if own == level]
                self._answer_together(retriever, level, same_level)
        except Exception as error:  # unexpected: the callers get the error, and the next batch is answered
            logging.getLogger(__name__).exception("a batch failed")
            for queued in batch.requests:
                if not queued.future.done():
                    queued.future.set_exception(error)

    def _answer_popular(self, request: Request) -> EngineAnswer:
        """Answer with popular items, in the calling thread."""
        start_s = self._clock()
        recommendation = self._get_retriever().recommend_popular(request, TOO_LITTLE_TIME)
        self.admission.costs.record(Degradation.POPULAR, 1, self._clock() - start_s)
        return EngineAnswer(recommendation, 0.0, {})

    def _level_in_time(self, queued: QueuedRequest, expected_s: float, now_s: float) -> Degradation:
        """Return the least degraded level that still fits, given that answers arrive when the whole batch is done."""
        if queued.probe:
            return queued.degradation
        others_s = expected_s - self.admission.costs.cost_s(queued.degradation)
        return self.admission.least_degradation(queued.degradation, queued.due_s - now_s - others_s)

    def _answer_together(self, retriever: Retriever, level: Degradation, requests: Sequence[QueuedRequest]) -> None:
        """Answer requests of the same level.

        If that fails, they are answered one by one, since one wrong request must not cost the others their answers; not
        if a service that all of them need is unavailable.
        """
        start_s, stages = self._clock(), _StageTimer(self._clock)
        try:
            if level == Degradation.POPULAR:
                answers = [retriever.recommend_popular(queued.request, TOO_LITTLE_TIME) for queued in requests]
            else:
                answers = retriever.answer([queued.request for queued in requests], degradation=level, timer=stages)
        except Exception as error:
            if len(requests) == 1 or isinstance(error, UnavailableError):
                for queued in requests:
                    self._answer_failure(retriever, queued, error)
            else:
                for queued in requests:
                    self._answer_together(retriever, level, [queued])
            return
        finally:  # failures count too, so that admission control soon avoids a remote index that hangs
            reset = any(queued.probe for queued in requests)
            self.admission.costs.record(level, len(requests), self._clock() - start_s, reset=reset)
        for queued, answer in zip(requests, answers, strict=True):
            queued.future.set_result(EngineAnswer(answer, start_s - queued.enqueued_s, stages.seconds))

    def _answer_failure(self, retriever: Retriever, queued: QueuedRequest, error: Exception) -> None:
        """Answer a request whose retrieval failed: a wrong request with its error, any other with popular items."""
        if isinstance(error, UsageError):
            queued.future.set_exception(error)
            return
        self._count("failed", 1)
        logging.getLogger(__name__).error("retrieval failed", exc_info=error)
        queued.future.set_result(EngineAnswer(retriever.recommend_popular(queued.request, FAILED), 0.0, {}))


class _StageTimer:
    """A ``StageTimer`` that measures the seconds of each stage of a batch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._last_s = clock, clock()
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, /) -> None:
        now = self._clock()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last_s
        self._last_s = now
