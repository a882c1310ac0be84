"""Requests that wait for the engine: interactive ones before batch ones, each kind in the order in which it came."""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

from multitudes.retrieve.ask import Ask, Effort
from multitudes.retrieve.recommendation import Recommendation
from multitudes.service.admission import Priority


class Answered(NamedTuple):
    """An answer, and where its time went."""

    recommendation: Recommendation
    waited_s: float  # before its batch began
    stage_s: Mapping[str, float]  # of its batch, by stage


@dataclass(eq=False, slots=True)
class Ticket:
    """A request that waits."""

    ask: Ask
    due_s: float
    effort: Effort
    probe: bool  # made in full, to see what that costs now
    since_s: float
    answered: "Future[Answered]" = field(default_factory=Future)


class Batch(NamedTuple):
    """Requests that are answered together."""

    tickets: list[Ticket]
    expected_s: float  # that they take
    dropped: int  # others that nobody waits for any more


class Waiting:
    """The requests that wait; whoever shares it brings the lock."""

    def __init__(self) -> None:
        self._tickets: dict[Priority, deque[Ticket]] = {"interactive": deque(), "batch": deque()}
        self._efforts: dict[Priority, Counter[Effort]] = {"interactive": Counter(), "batch": Counter()}

    def __len__(self) -> int:
        """Return how many wait."""
        return sum(map(len, self._tickets.values()))

    def put(self, tickets: Sequence[Ticket], priority: Priority) -> None:
        """Let requests wait."""
        self._tickets[priority].extend(tickets)
        self._efforts[priority].update(ticket.effort for ticket in tickets)

    def before(self, priority: Priority) -> Counter[Effort]:
        """Return how many requests of each effort are answered before the next one of that priority."""
        first = self._efforts["interactive"]
        return first if priority == "interactive" else first + self._efforts["batch"]

    def take(self, most: int, cost_s: Callable[[Effort], float], most_s: float, now_s: float) -> Batch:
        """Take the next requests: one at least, ``most`` at most, and no more than are done in ``most_s``.

        All are answered when the last is done, so nobody gets company with whom they would be late.
        """
        taken: list[Ticket] = []
        dropped, expected_s = 0, 0.0
        for priority, tickets in self._tickets.items():
            while tickets and len(taken) < most:
                next_s = cost_s(tickets[0].effort)
                if taken and expected_s + next_s > min(most_s, tickets[0].due_s - now_s):
                    return Batch(taken, expected_s, dropped)
                ticket = tickets.popleft()
                self._efforts[priority][ticket.effort] -= 1
                if ticket.answered.set_running_or_notify_cancel():
                    taken.append(ticket)
                    expected_s += next_s
                    most_s = min(most_s, ticket.due_s - now_s)
                else:
                    dropped += 1
        return Batch(taken, expected_s, dropped)
