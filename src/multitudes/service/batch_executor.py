"""What becomes of one batch of requests: each gets an answer, whatever goes wrong."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Protocol

from multitudes.errors import UnavailableError, UsageError
from multitudes.retrieval.request import Degradation, Request, Shortfall, time_shortfall
from multitudes.retrieval.response import Recommendation
from multitudes.retrieval.search import StageTimer
from multitudes.service.admission import AdmissionController
from multitudes.service.request_queue import Batch, EngineAnswer, QueuedRequest

TOO_LITTLE_TIME = time_shortfall("popular items")
FAILED = Shortfall("failed", "the retrieval failed: popular items")


class Recommender(Protocol):
    """What the engine needs of a retriever."""

    def answer(
        self, requests: Sequence[Request], *, degradation: Degradation, timer: StageTimer
    ) -> list[Recommendation]:
        """Answer several requests together."""
        ...

    def recommend_popular(self, request: Request, shortfall: Shortfall) -> Recommendation:
        """Answer with popular items."""
        ...


class OutcomeCounter:
    """How many requests came to what end; threads may share it."""

    def __init__(self) -> None:
        self._lock, self._counts = Lock(), Counter[str]()

    def add(self, what: str, requests: int = 1) -> None:
        """Count requests."""
        with self._lock:
            self._counts[what] += requests

    def totals(self) -> dict[str, int]:
        """Return the counts until now."""
        with self._lock:
            return dict(self._counts)


class BatchExecutor:
    """Answers batches, measures what they cost, and counts."""

    def __init__(
        self,
        get_retriever: Callable[[], Recommender],
        admission: AdmissionController,
        on_answer: Callable[[Request, Recommendation], None],
        clock: Callable[[], float],
    ) -> None:
        self.counts = OutcomeCounter()
        self._get_retriever, self._admission, self._on_answer, self._clock = get_retriever, admission, on_answer, clock

    def execute(self, batch: Batch) -> None:
        """Answer a batch; every ticket has its answer, or its error, when this returns."""
        try:
            self._execute_by_level(batch)
        except Exception as error:  # a defect: whoever waits is told, and the next batch is answered
            logging.getLogger(__name__).exception("a batch failed")
            for ticket in batch.requests:
                if not ticket.future.done():
                    ticket.future.set_exception(error)

    def answer_popular(self, ask: Request) -> EngineAnswer:
        """Answer with popular items, in the calling thread."""
        began = self._clock()
        answer = self._get_retriever().recommend_popular(ask, TOO_LITTLE_TIME)
        self._admission.costs.record(Degradation.POPULAR, 1, self._clock() - began)
        self.counts.add(Degradation.POPULAR.label)
        return EngineAnswer(answer, 0.0, {})

    def _execute_by_level(self, batch: Batch) -> None:
        # The release is held by this call alone: one that was replaced is free as soon as its last batch is answered.
        retriever, now = self._get_retriever(), self._clock()
        efforts = [self._level_in_time(ticket, batch.expected_s, now) for ticket in batch.requests]
        for effort in sorted(set(efforts)):
            self._answer_together(
                retriever, effort, [t for t, e in zip(batch.requests, efforts, strict=True) if e == effort]
            )

    def _level_in_time(self, ticket: QueuedRequest, expected_s: float, now_s: float) -> Degradation:
        """Return how much there is still time for; the answer comes when the whole batch is done."""
        if ticket.probe:
            return ticket.degradation
        others_s = expected_s - self._admission.costs.cost_s(ticket.degradation)
        return self._admission.least_degradation(ticket.degradation, ticket.due_s - now_s - others_s)

    def _answer_together(self, retriever: Recommender, effort: Degradation, tickets: Sequence[QueuedRequest]) -> None:
        """Answer those who get the same effort; what fails together is tried one by one, unless nobody can help it."""
        began, stages = self._clock(), _StageTimer(self._clock)
        try:
            answers = self._retrieve(retriever, effort, tickets, stages)
        except Exception as error:
            if len(tickets) == 1 or isinstance(error, UnavailableError):
                for ticket in tickets:
                    self._answer_failure(retriever, ticket, error)
            else:
                for ticket in tickets:
                    self._answer_together(retriever, effort, [ticket])
            return
        finally:  # what failed took its time too: a remote index that hangs soon seems too dear to be asked
            anew = any(ticket.probe for ticket in tickets)
            self._admission.costs.record(effort, len(tickets), self._clock() - began, reset=anew)
        self.counts.add(effort.label, len(tickets))
        for ticket, answer in zip(tickets, answers, strict=True):
            ticket.future.set_result(EngineAnswer(answer, began - ticket.enqueued_s, stages.seconds))
        if effort < Degradation.POPULAR:
            self._notify(tickets, answers)

    @staticmethod
    def _retrieve(
        retriever: Recommender, effort: Degradation, tickets: Sequence[QueuedRequest], stages: "_StageTimer"
    ) -> list[Recommendation]:
        if effort == Degradation.POPULAR:
            return [retriever.recommend_popular(ticket.request, TOO_LITTLE_TIME) for ticket in tickets]
        return retriever.answer([ticket.request for ticket in tickets], degradation=effort, timer=stages)

    def _notify(self, tickets: Sequence[QueuedRequest], answers: Sequence[Recommendation]) -> None:
        try:
            for ticket, answer in zip(tickets, answers, strict=True):
                self._on_answer(ticket.request, answer)
        except Exception:  # who looks at answers must not harm them
            logging.getLogger(__name__).exception("looking at answers failed")

    def _answer_failure(self, retriever: Recommender, ticket: QueuedRequest, error: Exception) -> None:
        """Answer a request whose retrieval failed: a wrong request is told so, anybody else gets popular items."""
        if isinstance(error, UsageError):
            ticket.future.set_exception(error)
            return
        self.counts.add("failed")
        logging.getLogger(__name__).error("retrieval failed", exc_info=error)
        ticket.future.set_result(EngineAnswer(retriever.recommend_popular(ticket.request, FAILED), 0.0, {}))


class _StageTimer:
    """Notes when each stage of a batch ends."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._last_s = clock, clock()
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, /) -> None:
        now = self._clock()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last_s
        self._last_s = now
