"""Small implementations of the dependencies of the routes."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from multitudes.errors import StateError
from multitudes.ids import Id
from multitudes.logs.logs import Logs
from multitudes.logs.schemas import LoggedEvent, ServedResponse
from multitudes.retrieval.request import Request
from multitudes.retrieval.retriever import Retriever
from multitudes.service.admission import Priority
from multitudes.service.engine import Engine
from multitudes.service.request_queue import EngineAnswer
from multitudes.service.state_guard import GuardedStates
from multitudes.state.protocol import AppendResult, Event, UserState


@dataclass
class PlainEngine(Engine):
    """Answers at once, and remembers what it was asked; ``error`` is raised in place of an answer."""

    retriever: Retriever
    error: Exception | None = None
    asked: list[tuple[Request, float, str]] = field(default_factory=list)

    async def answer(
        self, asks: Sequence[Request], deadline_s: float, priority: Priority
    ) -> AsyncIterator[EngineAnswer]:
        self.asked += [(ask, deadline_s, priority) for ask in asks]
        if self.error is not None:
            raise self.error
        for answer in self.retriever.answer(asks):
            yield EngineAnswer(answer, 0.0, {})


@dataclass
class DictStates(GuardedStates):
    """User states in a dict; ``error`` is raised by every call."""

    error: StateError | None = None
    events: dict[tuple[type, Id], dict[str, Event]] = field(default_factory=dict)
    follows: dict[tuple[type, Id], tuple[str, ...]] = field(default_factory=dict)
    forgotten: set[tuple[type, Id]] = field(default_factory=set)
    late: set[str] = field(default_factory=set)  # names of events from before their user was forgotten
    reads: list[list[Id]] = field(default_factory=list)

    async def append(self, events: Sequence[Event], client: str = "") -> AppendResult:  # noqa: ARG002
        self._check()
        new = []
        for event in events:
            mine = self.events.setdefault((type(event.user_id), event.user_id), {})
            new.append(event.event_id not in mine and event.event_id not in self.late)
            mine.setdefault(event.event_id, event)
        return AppendResult(new)

    async def read(self, user_ids: Sequence[Id], within_s: float) -> list[UserState]:  # noqa: ARG002
        self._check()
        self.reads.append(list(user_ids))
        return [
            UserState(
                user,
                tuple(sorted(self.events.get((type(user), user), {}).values(), key=lambda e: e.time_s)),
                self.follows.get((type(user), user)),
                (type(user), user) in self.forgotten,
            )
            for user in user_ids
        ]

    async def set_followed_topics(self, user_id: Id, followed_topics: Sequence[str], client: str = "") -> None:
        del client
        self._check()
        self.follows[type(user_id), user_id] = tuple(followed_topics)

    async def erase(self, user_id: Id) -> bool:
        key = type(user_id), user_id
        self.forgotten.add(key)
        self._check()
        known = self.events.pop(key, None) is not None
        return self.follows.pop(key, None) is not None or known

    def is_erased(self, user_id: Id) -> bool:
        return (type(user_id), user_id) in self.forgotten

    async def ping(self) -> None:
        self._check()

    def _check(self) -> None:
        if self.error is not None:
            raise self.error


@dataclass
class ListLogs(Logs):
    """Logs in lists; on a full disk nothing is written."""

    full: bool = False
    damaged: int = 0
    answers: list[ServedResponse] = field(default_factory=list)
    events: list[LoggedEvent] = field(default_factory=list)
    forgotten: list[Id] = field(default_factory=list)

    def log_served(self, answer: ServedResponse) -> bool:
        if not self.full:
            self.answers.append(answer)
        return not self.full

    def log_events(self, events: Sequence[LoggedEvent]) -> bool:
        if not self.full:
            self.events.extend(events)
        return not self.full

    def erase_user(self, user_id: Id) -> int:
        self.forgotten.append(user_id)
        return 1

    def problem(self) -> str:
        return f"{self.damaged} damaged segments" if self.damaged else ""
