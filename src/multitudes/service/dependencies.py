"""What the routers work with: the seams behind HTTP, each of which a test can put something small into."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from multitudes.ids import Id
from multitudes.logs.schemas import LoggedEvent, ServedResponse
from multitudes.retrieval.request import Request
from multitudes.retrieval.retriever import Retriever
from multitudes.service.admission import Priority
from multitudes.service.api_keys import ApiKeys
from multitudes.service.journal import Journal
from multitudes.service.loop_lag import LoopLagMonitor
from multitudes.service.metrics import Metrics
from multitudes.service.request_queue import EngineAnswer
from multitudes.service.settings import ServeConfig
from multitudes.state.protocol import AppendResult, Event, UserState


class Engine(Protocol):
    """Answers requests in their time, or with less, or refuses them; ``service.engine`` is the real one."""

    async def answer(self, ask: Request, deadline_s: float, priority: Priority = "interactive") -> EngineAnswer: ...  # noqa: D102
    async def answer_batch(  # noqa: D102
        self, asks: Sequence[Request], deadline_s: float, priority: Priority = "batch"
    ) -> list[EngineAnswer]: ...


class StateStore(Protocol):
    """The user states, asked without holding up anybody else; StateError where the store does not answer."""

    async def append(self, events: Sequence[Event]) -> AppendResult: ...  # noqa: D102
    async def read(self, user_ids: Sequence[Id], within_s: float) -> list[UserState]: ...  # noqa: D102
    async def set_followed_topics(self, user_id: Id, followed_topics: Sequence[str]) -> None: ...  # noqa: D102
    async def erase(self, user_id: Id) -> bool: ...  # noqa: D102
    def is_erased(self, user_id: Id) -> bool: ...  # noqa: D102
    async def ping(self) -> None: ...  # noqa: D102


class Logs(Protocol):
    """What was served and what came of it, written down; ``logs.logs`` is the real one."""

    def log_served(self, answer: ServedResponse) -> bool: ...  # noqa: D102
    def log_events(self, events: Sequence[LoggedEvent]) -> bool: ...  # noqa: D102
    def erase_user(self, user_id: Id) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Dependencies:
    """All that the routers need."""

    settings: ServeConfig
    get_retriever: Callable[[], Retriever]  # what serves now; whoever asked keeps it until they are done
    engine: Engine
    states: StateStore
    logs: Logs
    metrics: Metrics
    journal: Journal
    keys: ApiKeys | None = None  # None: no key is asked for
    loop_lag: LoopLagMonitor = field(default_factory=LoopLagMonitor)
