"""A store of user states in a dictionary, with which the real ones are compared."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from multitudes.ids import Id
from multitudes.state.protocol import Event, StateConfig, UserState


@dataclass
class Clock:
    """A clock that tests move."""

    now_s: int = 1_000_000

    def __call__(self) -> float:
        return float(self.now_s)


@dataclass
class _Kept:
    events: list[Event] = field(default_factory=list)
    told_s: dict[str, int] = field(default_factory=dict)
    follows: tuple[str, ...] | None = None


@dataclass
class PlainStates:
    """The model."""

    config: StateConfig
    clock: Clock
    users: dict[tuple[type, Id], _Kept] = field(default_factory=dict)
    forgotten_s: dict[tuple[type, Id], int] = field(default_factory=dict)
    erased_told_s: dict[tuple[type, Id], dict[str, int]] = field(default_factory=dict)

    def append(self, events: Sequence[Event]) -> list[bool]:
        return [self._append(event) for event in events]

    def _append(self, event: Event) -> bool:
        now_s, who = self.clock.now_s, (type(event.user_id), event.user_id)
        if event.time_s > now_s + self.config.skew_s:
            event = event._replace(time_s=now_s)
        erased_s, told = self.forgotten_s.get(who), self.erased_told_s.get(who, {})
        if erased_s is not None and (
            event.time_s < (erased_s if now_s >= erased_s else now_s - self.config.skew_s)
            or told.get(event.event_id, now_s - self.config.remember_ids_s) > now_s - self.config.remember_ids_s
        ):
            return False
        kept = self.users.setdefault(who, _Kept())
        kept.events = [
            one._replace(time_s=now_s) if one.time_s > now_s + self.config.skew_s else one for one in kept.events
        ]
        told_s = kept.told_s.get(event.event_id)
        if told_s is not None and told_s > now_s - self.config.remember_ids_s:
            return False
        kept.told_s[event.event_id] = now_s
        kept.events.append(event)
        kept.events.sort(key=lambda event: event.time_s)
        del kept.events[: -self.config.keep]
        return True

    def read(self, user_ids: Sequence[Id]) -> list[UserState]:
        kept = {who: self.users.get(who, _Kept()) for who in ((type(user), user) for user in user_ids)}
        return [
            UserState(
                user, tuple(kept[who].events), kept[who].follows, who in self.forgotten_s, self.forgotten_s.get(who)
            )
            for user in user_ids
            for who in [(type(user), user)]
        ]

    def follow(self, user_id: Id, follows: Sequence[str]) -> None:
        self.users.setdefault((type(user_id), user_id), _Kept()).follows = tuple(follows)

    def forget(self, user_id: Id) -> bool:
        who = type(user_id), user_id
        self.forgotten_s[who] = max(self.clock.now_s, self.forgotten_s.get(who, self.clock.now_s))
        kept = self.users.pop(who, None)
        self.erased_told_s.setdefault(who, {}).update({} if kept is None else kept.told_s)
        return kept is not None
