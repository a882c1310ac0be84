"""Answers one batch of requests: every request gets an answer or an error, also if the retrieval fails."""

import logging
from collections.abc import Callable, Sequence

from multitudes.errors import UnavailableError, UsageError
from multitudes.retrieval.request import Degradation, Request, Shortfall, time_shortfall
from multitudes.retrieval.response import Recommendation
from multitudes.retrieval.retriever import Retriever
from multitudes.service.admission import AdmissionController
from multitudes.service.request_queue import Batch, EngineAnswer, QueuedRequest

TOO_LITTLE_TIME = time_shortfall("popular items")
FAILED = Shortfall("failed", "the retrieval failed: popular items")


CountSetbacks = Callable[[str, int], None]  # of a kind, how many requests; any thread calls it


class BatchExecutor:
    """Answers batches, measures what they cost, and counts failures."""

    def __init__(
        self,
        get_retriever: Callable[[], Retriever],
        admission: AdmissionController,
        count: CountSetbacks,
        clock: Callable[[], float],
    ) -> None:
        """Answer as little degraded as ``admission`` allows; ``get_retriever`` is called once for each batch."""
        self._get_retriever, self._admission, self._count, self._clock = get_retriever, admission, count, clock

    def execute(self, batch: Batch) -> None:
        """Answer a batch; when this returns, every request has its answer or its error."""
        try:
            self._execute_by_level(batch)
        except Exception as error:  # unexpected: the callers get the error, and the next batch is answered
            logging.getLogger(__name__).exception("a batch failed")
            for queued in batch.requests:
                if not queued.future.done():
                    queued.future.set_exception(error)

    def answer_popular(self, request: Request) -> EngineAnswer:
        """Answer with popular items, in the calling thread."""
        start_s = self._clock()
        recommendation = self._get_retriever().recommend_popular(request, TOO_LITTLE_TIME)
        self._admission.costs.record(Degradation.POPULAR, 1, self._clock() - start_s)
        return EngineAnswer(recommendation, 0.0, {})

    def _execute_by_level(self, batch: Batch) -> None:
        # Only this call holds the retriever, so a replaced release is freed as soon as its last batch is answered.
        retriever, now_s = self._get_retriever(), self._clock()
        levels = [self._level_in_time(queued, batch.expected_s, now_s) for queued in batch.requests]
        for level in sorted(set(levels)):
            same_level = [queued for queued, own in zip(batch.requests, levels, strict=True) if own == level]
            self._answer_together(retriever, level, same_level)

    def _level_in_time(self, queued: QueuedRequest, expected_s: float, now_s: float) -> Degradation:
        """Return the least degraded level that still fits, given that answers arrive when the whole batch is done."""
        if queued.probe:
            return queued.degradation
        others_s = expected_s - self._admission.costs.cost_s(queued.degradation)
        return self._admission.least_degradation(queued.degradation, queued.due_s - now_s - others_s)

    def _answer_together(self, retriever: Retriever, level: Degradation, requests: Sequence[QueuedRequest]) -> None:
        """Answer requests of the same level.

        If that fails, they are answered one by one, since one wrong request must not cost the others their answers; not
        if a service that all of them need is unavailable.
        """
        start_s, stages = self._clock(), _StageTimer(self._clock)
        try:
            answers = self._retrieve(retriever, level, requests, stages)
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
            self._admission.costs.record(level, len(requests), self._clock() - start_s, reset=reset)
        for queued, answer in zip(requests, answers, strict=True):
            queued.future.set_result(EngineAnswer(answer, start_s - queued.enqueued_s, stages.seconds))

    @staticmethod
    def _retrieve(
        retriever: Retriever, level: Degradation, requests: Sequence[QueuedRequest], stages: "_StageTimer"
    ) -> list[Recommendation]:
        if level == Degradation.POPULAR:
            return [retriever.recommend_popular(queued.request, TOO_LITTLE_TIME) for queued in requests]
        return retriever.answer([queued.request for queued in requests], degradation=level, timer=stages)

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
