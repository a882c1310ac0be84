"""The queue of the engine: interactive requests before batch requests, and of each batch a request in turn.

So a batch is delayed by no more of the others than it asks for itself: ``reliability/neighbours.py``.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

from multitudes.retrieval.request import Degradation, Request
from multitudes.retrieval.response import Recommendation
from multitudes.service.admission import Priority


class EngineAnswer(NamedTuple):
    """A recommendation, and the time that it took."""

    recommendation: Recommendation
    waited_s: float  # before its batch started
    stage_s: Mapping[str, float]  # of its batch, by stage


@dataclass(eq=False, slots=True)
class QueuedRequest:
    """A request in the queue."""

    request: Request
    due_s: float
    degradation: Degradation
    probe: bool  # answered in full to measure what that costs
    enqueued_s: float
    future: "Future[EngineAnswer]" = field(default_factory=Future)


class Batch(NamedTuple):
    """Requests that are answered together."""

    requests: list[QueuedRequest]
    expected_s: float  # to answer them
    cancelled: int  # other requests, removed from the queue because their callers are gone


class RequestQueue:
    """The requests that wait. Not thread-safe: callers hold a lock."""

    def __init__(self) -> None:
        # Requests that arrived together; the next one is the first of the first.
        self._queues: dict[Priority, deque[deque[QueuedRequest]]] = {"interactive": deque(), "batch": deque()}
        self._levels: dict[Priority, Counter[Degradation]] = {"interactive": Counter(), "batch": Counter()}

    def __len__(self) -> int:
        """Return the number of requests."""
        return sum(level.total() for level in self._levels.values())

    def put(self, requests: Sequence[QueuedRequest], priority: Priority) -> None:
        """Append requests that arrive together."""
        self._queues[priority].append(deque(requests))
        self._levels[priority].update(request.degradation for request in requests)

    def count_before(self, priority: Priority) -> Counter[Degradation]:
        """Return, by level, how many requests are answered before the last of those that arrive next, at most."""
        interactive = self._levels["interactive"]
        return interactive if priority == "interactive" else interactive + self._levels["batch"]

    def take(self, max_requests: int, cost_s: Callable[[Degradation], float], max_s: float, now_s: float) -> Batch:
        """Remove and return the next requests.

        All of a batch are answered when the last one is done, so a request joins only if it makes no other one late.
        ``max_s`` are the expected seconds of the batch, which its first request may exceed.
        """
        batch: list[QueuedRequest] = []
        cancelled, expected_s = 0, 0.0
        for priority, queue in self._queues.items():
            while queue and len(batch) < max_requests:
                request = queue[0][0]
                next_s = cost_s(request.degradation)
                if batch and expected_s + next_s > min(max_s, request.due_s - now_s):
                    return Batch(batch, expected_s, cancelled)
                together = queue.popleft()
                together.popleft()
                if together:
                    queue.append(together)
                self._levels[priority][request.degradation] -= 1
                if request.future.set_running_or_notify_cancel():
                    batch.append(request)
                    expected_s += next_s
                    max_s = min(max_s, request.due_s - now_s)
                else:
                    cancelled += 1
        return Batch(batch, expected_s, cancelled)
