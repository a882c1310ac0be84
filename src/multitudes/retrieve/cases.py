"""Who asks, and what can be told of them now: their own past, what is remembered of it, or nothing."""

from typing import NamedTuple

import numpy as np

from multitudes.batches.vectors import UserVectors
from multitudes.retrieve.ask import Ask, Effort
from multitudes.retrieve.people import Asked, People
from multitudes.retrieve.remembered import Remembered
from multitudes.retrieve.shortfall import Shortfall, in_time


class Case(NamedTuple):
    """One request with who is behind it."""

    ask: Ask
    asked: Asked  # one user
    effort: Effort  # that is made for it
    shortfalls: tuple[Shortfall, ...] = ()  # why that is less than all
    vectors: UserVectors | None = None  # of the user's last answer, which are used again


def case(people: People, ask: Ask, effort: Effort, remembered: Remembered) -> Case:
    """Find out who asks. Less than asked for is done where nothing is known, or nothing can be."""
    again = effort == Effort.CACHED or bool(ask.stateless)
    memory = remembered.recall(ask.user_id) if again else None
    if memory is not None:
        last = "the interests of the last answer"
        short = _stateless(ask, last) if ask.stateless else in_time(last)
        return Case(ask, memory.asked, max(effort, Effort.CACHED), (short,), memory.vectors)
    found = _described(people, ask, effort) if ask.described else _user(people, ask, effort)
    if effort >= Effort.CACHED:
        return found._replace(effort=Effort.POPULAR, shortfalls=found.shortfalls or (in_time("popular items"),))
    if found.effort == Effort.FEWER:
        return found._replace(shortfalls=(*found.shortfalls, in_time("only the strongest interests")))
    return found


def _described(people: People, ask: Ask, effort: Effort) -> Case:
    return Case(ask, people.described(ask.history or (), ask.follows or ()), effort)


def _user(people: People, ask: Ask, effort: Effort) -> Case:
    assert ask.user_id is not None
    if ask.person is not None:
        asked = people.present([ask.person])
        known = bool(asked.user_B[0] >= 0 or ask.person.events or ask.person.follows)
        return Case(ask, asked, effort) if known else _nobody(ask, asked, f"nothing is known of user {ask.user_id!r}")
    number = people.number(ask.user_id)
    if number is None:
        nobody = people.described((), (), name=ask.user_id)
        return _nobody(ask, nobody, f"user {ask.user_id!r} is not in this release")
    stored = people.known(np.array([number]))
    return Case(ask, stored, effort, (_stateless(ask, "the history as it was published"),) if ask.stateless else ())


def _nobody(ask: Ask, asked: Asked, why: str) -> Case:
    instead = "popular items"
    short = _stateless(ask, instead) if ask.stateless else Shortfall("unknown", f"{why}: {instead}")
    return Case(ask, asked, Effort.POPULAR, (short,))


def _stateless(ask: Ask, instead: str) -> Shortfall:
    return Shortfall("state", f"{ask.stateless}: {instead}")
