"""What becomes of one batch of requests: each gets an answer, whatever goes wrong."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Protocol

from multitudes.errors import UnavailableError, UsageError
from multitudes.retrieve.ask import Ask, Effort
from multitudes.retrieve.recommendation import Recommendation
from multitudes.retrieve.shortfall import Shortfall, in_time
from multitudes.retrieve.stages import Stage
from multitudes.service.admission import Admission
from multitudes.service.tickets import Answered, Batch, Ticket

TOO_LITTLE_TIME = in_time("popular items")
FAILED = Shortfall("failed", "the retrieval failed: popular items")


class Answers(Protocol):
    """What the engine needs of a retriever."""

    def answer(self, asks: Sequence[Ask], *, effort: Effort, stage: Stage) -> list[Recommendation]:
        """Answer several requests together."""
        ...

    def popular(self, ask: Ask, short: Shortfall) -> Recommendation:
        """Answer with popular items."""
        ...


class Counts:
    """How many requests came to what end; threads may share it."""

    def __init__(self) -> None:
        self._lock, self._counts = Lock(), Counter[str]()

    def add(self, what: str, requests: int = 1) -> None:
        """Count requests."""
        with self._lock:
            self._counts[what] += requests

    def all(self) -> dict[str, int]:
        """Return the counts until now."""
        with self._lock:
            return dict(self._counts)


class Answering:
    """Answers batches, measures what they cost, and counts."""

    def __init__(
        self,
        current: Callable[[], Answers],
        admission: Admission,
        after: Callable[[Ask, Recommendation], None],
        clock: Callable[[], float],
    ) -> None:
        self.counts = Counts()
        self._current, self._admission, self._after, self._clock = current, admission, after, clock

    def answer(self, batch: Batch) -> None:
        """Answer a batch; every ticket has its answer, or its error, when this returns."""
        try:
            self._answer_by_effort(batch)
        except Exception as error:  # a defect: whoever waits is told, and the next batch is answered
            logging.getLogger(__name__).exception("a batch failed")
            for ticket in batch.tickets:
                if not ticket.answered.done():
                    ticket.answered.set_exception(error)

    def popular(self, ask: Ask) -> Answered:
        """Answer with popular items, in the calling thread."""
        began = self._clock()
        answer = self._current().popular(ask, TOO_LITTLE_TIME)
        self._admission.costs.measured(Effort.POPULAR, 1, self._clock() - began)
        self.counts.add(Effort.POPULAR.label)
        return Answered(answer, 0.0, {})

    def _answer_by_effort(self, batch: Batch) -> None:
        # The release is held by this call alone: one that was replaced is free as soon as its last batch is answered.
        retriever, now = self._current(), self._clock()
        efforts = [self._effort(ticket, batch.expected_s, now) for ticket in batch.tickets]
        for effort in sorted(set(efforts)):
            self._answer(retriever, effort, [t for t, e in zip(batch.tickets, efforts, strict=True) if e == effort])

    def _effort(self, ticket: Ticket, expected_s: float, now_s: float) -> Effort:
        """Return how much there is still time for; the answer comes when the whole batch is done."""
        if ticket.probe:
            return ticket.effort
        others_s = expected_s - self._admission.costs.of(ticket.effort)
        return self._admission.affordable(ticket.effort, ticket.due_s - now_s - others_s)

    def _answer(self, retriever: Answers, effort: Effort, tickets: Sequence[Ticket]) -> None:
        """Answer those who get the same effort; what fails together is tried one by one, unless nobody can help it."""
        began, stages = self._clock(), _Stages(self._clock)
        try:
            answers = self._made(retriever, effort, tickets, stages)
        except Exception as error:
            if len(tickets) == 1 or isinstance(error, UnavailableError):
                for ticket in tickets:
                    self._fail(retriever, ticket, error)
            else:
                for ticket in tickets:
                    self._answer(retriever, effort, [ticket])
            return
        finally:  # what failed took its time too: a remote index that hangs soon seems too dear to be asked
            anew = any(ticket.probe for ticket in tickets)
            self._admission.costs.measured(effort, len(tickets), self._clock() - began, anew=anew)
        self.counts.add(effort.label, len(tickets))
        for ticket, answer in zip(tickets, answers, strict=True):
            ticket.answered.set_result(Answered(answer, began - ticket.since_s, stages.seconds))
        if effort < Effort.POPULAR:
            self._look_at(tickets, answers)

    @staticmethod
    def _made(retriever: Answers, effort: Effort, tickets: Sequence[Ticket], stages: "_Stages") -> list[Recommendation]:
        if effort == Effort.POPULAR:
            return [retriever.popular(ticket.ask, TOO_LITTLE_TIME) for ticket in tickets]
        return retriever.answer([ticket.ask for ticket in tickets], effort=effort, stage=stages)

    def _look_at(self, tickets: Sequence[Ticket], answers: Sequence[Recommendation]) -> None:
        try:
            for ticket, answer in zip(tickets, answers, strict=True):
                self._after(ticket.ask, answer)
        except Exception:  # who looks at answers must not harm them
            logging.getLogger(__name__).exception("looking at answers failed")

    def _fail(self, retriever: Answers, ticket: Ticket, error: Exception) -> None:
        """Answer a request whose retrieval failed: a wrong request is told so, anybody else gets popular items."""
        if isinstance(error, UsageError):
            ticket.answered.set_exception(error)
            return
        self.counts.add("failed")
        logging.getLogger(__name__).error("retrieval failed", exc_info=error)
        ticket.answered.set_result(Answered(retriever.popular(ticket.ask, FAILED), 0.0, {}))


class _Stages:
    """Notes when each stage of a batch ends."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._last_s = clock, clock()
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, /) -> None:
        now = self._clock()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last_s
        self._last_s = now
