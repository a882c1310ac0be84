"""The dependencies of the routes, as protocols that tests implement with small fakes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from multitudes.explorer.other_releases import NamedExplorer
from multitudes.ids import Id
from multitudes.logs.schemas import LoggedEvent, ServedResponse
from multitudes.retrieval.request import Request
from multitudes.retrieval.retriever import Retriever
from multitudes.service.access_records import AccessRecords
from multitudes.service.admission import Priority
from multitudes.service.api_keys import ApiKeys
from multitudes.service.journal import Journal
from multitudes.service.loop_lag import LoopLagMonitor
from multitudes.service.metrics import Metrics
from multitudes.service.request_queue import EngineAnswer
from multitudes.service.settings import ServeConfig
from multitudes.state.protocol import AppendResult, Event, UserState


class Engine(Protocol):
    """Answers requests in time, degraded if necessary; ``service.engine.Engine`` is the implementation."""

    async def answer(self, request: Request, deadline_s: float, priority: Priority = "interactive") -> EngineAnswer:
        """Answer a request.

        Args:
            request: what to answer.
            deadline_s: seconds from now.
            priority: batch requests give way to interactive ones.

        Raises:
            UsageError: the request cannot be answered.
            OverloadError: there is no time for any answer.
        """
        ...

    async def answer_batch(
        self, requests: Sequence[Request], deadline_s: float, priority: Priority = "batch"
    ) -> list[EngineAnswer]:
        """Answer several requests that arrive together: all of them, in order, or none.

        Args:
            requests: what to answer.
            deadline_s: seconds from now, for all of them.
            priority: batch requests give way to interactive ones.

        Raises:
            UsageError: a request cannot be answered.
            OverloadError: there is no time for an answer.
        """
        ...


class StateStore(Protocol):
    """The user states; no call blocks the event loop. Each raises ``StateError`` if the store does not answer."""

    async def append(self, events: Sequence[Event]) -> AppendResult:
        """Store events; they are durable when this returns. Repeated events change nothing.

        Raises:
            DataError: an id or a time cannot be stored exactly.
        """
        ...

    async def read(self, user_ids: Sequence[Id], within_s: float) -> list[UserState]:
        """Return the state of each user, in order, within ``within_s`` seconds."""
        ...

    async def set_followed_topics(self, user_id: Id, followed_topics: Sequence[str]) -> None:
        """Set the topics that a user follows, in place of the former ones."""
        ...

    async def erase(self, user_id: Id) -> bool:
        """Erase a user; return whether the store held anything of them."""
        ...

    def is_erased(self, user_id: Id) -> bool:
        """Return whether a user asked on this machine to be erased, without calling the store."""
        ...

    async def ping(self) -> None:
        """Return if the store answers."""
        ...


class Logs(Protocol):
    """The logs of answers and events; ``logs.logs.Logs`` is the implementation."""

    def log_served(self, answer: ServedResponse) -> bool:
        """Log an answer; return whether it is written."""
        ...

    def log_events(self, events: Sequence[LoggedEvent]) -> bool:
        """Log events; return whether they are written."""
        ...

    def erase_user(self, user_id: Id) -> int:
        """Remove the rows of a user; return how many.

        Raises:
            OSError: the logs cannot be rewritten.
        """
        ...

    def damaged_segments(self) -> int:
        """Return how many segments cannot be read and were set aside."""
        ...


@dataclass(frozen=True)
class Dependencies:
    """What the routes work with."""

    settings: ServeConfig
    get_retriever: Callable[[], Retriever]  # the one that serves now; a caller may keep it until it is done
    engine: Engine
    states: StateStore
    logs: Logs
    metrics: Metrics
    journal: Journal
    keys: ApiKeys | None = None  # None: no key is required
    loop_lag: LoopLagMonitor = field(default_factory=LoopLagMonitor)
    access_records: AccessRecords | None = None  # None: nothing is recorded
    beside: NamedExplorer | None = None  # a release that the explorer shows beside the one that serves
