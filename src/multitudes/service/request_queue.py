"""Requests that wait for the engine: interactive ones before batch ones, each kind in the order in which it came."""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

from multitudes.retrieval.request import Degradation, Request
from multitudes.retrieval.response import Recommendation
from multitudes.service.admission import Priority


class EngineAnswer(NamedTuple):
    """An answer, and where its time went."""

    recommendation: Recommendation
    waited_s: float  # before its batch began
    stage_s: Mapping[str, float]  # of its batch, by stage


@dataclass(eq=False, slots=True)
class QueuedRequest:
    """A request that waits."""

    request: Request
    due_s: float
    degradation: Degradation
    probe: bool  # made in full, to see what that costs now
    enqueued_s: float
    future: "Future[EngineAnswer]" = field(default_factory=Future)


class Batch(NamedTuple):
    """Requests that are answered together."""

    requests: list[QueuedRequest]
    expected_s: float  # that they take
    cancelled: int  # others that nobody waits for any more


class RequestQueue:
    """The requests that wait; whoever shares it brings the lock."""

    def __init__(self) -> None:
        self._queues: dict[Priority, deque[QueuedRequest]] = {"interactive": deque(), "batch": deque()}
        self._levels: dict[Priority, Counter[Degradation]] = {"interactive": Counter(), "batch": Counter()}

    def __len__(self) -> int:
        """Return how many wait."""
        return sum(map(len, self._queues.values()))

    def put(self, tickets: Sequence[QueuedRequest], priority: Priority) -> None:
        """Let requests wait."""
        self._queues[priority].extend(tickets)
        self._levels[priority].update(ticket.degradation for ticket in tickets)

    def count_before(self, priority: Priority) -> Counter[Degradation]:
        """Return how many requests of each effort are answered before the next one of that priority."""
        first = self._levels["interactive"]
        return first if priority == "interactive" else first + self._levels["batch"]

    def take(self, max_requests: int, cost_s: Callable[[Degradation], float], max_s: float, now_s: float) -> Batch:
        """Take the next requests: one at least, ``max_requests`` at most, and no more than are done in ``max_s``.

        All are answered when the last is done, so nobody gets company with whom they would be late.
        """
        taken: list[QueuedRequest] = []
        dropped, expected_s = 0, 0.0
        for priority, tickets in self._queues.items():
            while tickets and len(taken) < max_requests:
                next_s = cost_s(tickets[0].degradation)
                if taken and expected_s + next_s > min(max_s, tickets[0].due_s - now_s):
                    return Batch(taken, expected_s, dropped)
                ticket = tickets.popleft()
                self._levels[priority][ticket.degradation] -= 1
                if ticket.future.set_running_or_notify_cancel():
                    taken.append(ticket)
                    expected_s += next_s
                    max_s = min(max_s, ticket.due_s - now_s)
                else:
                    dropped += 1
        return Batch(taken, expected_s, dropped)
