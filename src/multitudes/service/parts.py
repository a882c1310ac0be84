"""What the routers work with: the seams behind HTTP, each of which a test can put something small into."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from multitudes.ids import Id
from multitudes.logs.records import Engaged, Served
from multitudes.retrieve.ask import Ask
from multitudes.retrieve.retriever import Retriever
from multitudes.service.admission import Priority
from multitudes.service.heartbeat import Heartbeat
from multitudes.service.journal import Journal
from multitudes.service.keys import Keys
from multitudes.service.measures import Measures
from multitudes.service.settings import ServeConfig
from multitudes.service.tickets import Answered
from multitudes.state.records import Appended, Event, Person


class Engine(Protocol):
    """Answers requests in their time, or with less, or refuses them; ``service.engine`` is the real one."""

    async def answer(self, ask: Ask, deadline_s: float, priority: Priority = "interactive") -> Answered: ...  # noqa: D102
    async def answer_all(  # noqa: D102
        self, asks: Sequence[Ask], deadline_s: float, priority: Priority = "batch"
    ) -> list[Answered]: ...


class States(Protocol):
    """The user states, asked without holding up anybody else; StateError where the store does not answer."""

    async def append(self, events: Sequence[Event]) -> Appended: ...  # noqa: D102
    async def read(self, user_ids: Sequence[Id], within_s: float) -> list[Person]: ...  # noqa: D102
    async def follow(self, user_id: Id, follows: Sequence[str]) -> None: ...  # noqa: D102
    async def forget(self, user_id: Id) -> bool: ...  # noqa: D102
    def forgot(self, user_id: Id) -> bool: ...  # noqa: D102
    async def ping(self) -> None: ...  # noqa: D102


class Logs(Protocol):
    """What was served and what came of it, written down; ``logs.logs`` is the real one."""

    def served(self, answer: Served) -> bool: ...  # noqa: D102
    def engaged(self, events: Sequence[Engaged]) -> bool: ...  # noqa: D102
    def forget(self, user_id: Id) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Parts:
    """All that the routers need."""

    settings: ServeConfig
    current: Callable[[], Retriever]  # what serves now; whoever asked keeps it until they are done
    engine: Engine
    states: States
    logs: Logs
    measures: Measures
    journal: Journal
    keys: Keys | None = None  # None: no key is asked for
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
