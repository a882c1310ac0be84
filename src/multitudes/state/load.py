"""Many users at once into a store: what is there already stays, so it may be done again, or after it was cut short."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

from multitudes.ids import Id
from multitudes.progress import Progress, silent
from multitudes.state.protocol import UserStates
from multitudes.state.records import Event, Person

_USERS_AT_ONCE = 100
_WRITERS = 16  # follows are stated one by one; together they share a commit


class Loaded(NamedTuple):
    """What became of the users that were given."""

    users: int = 0
    events: int = 0  # that were given
    new_events: int = 0  # that the store did not know
    new_follows: int = 0  # users whose follows the store did not know
    forgotten: int = 0  # users who asked to be forgotten: nothing of them was loaded


def load(states: UserStates, people: Iterable[Person], total: int, progress: Progress = silent) -> Loaded:
    """Fill a store.

    Args:
        states: the store.
        people: what is to be known; of their events, those that the store holds already are left out.
        total: how many people there are, for ``progress``.
        progress: told after every hundred users.

    Raises:
        StateError: the store does not answer; what was loaded until then stays, and loading again goes on.
    """
    loaded, remaining = Loaded(), iter(people)
    with ThreadPoolExecutor(_WRITERS, thread_name_prefix="load") as writers:
        while some := list(islice(remaining, _USERS_AT_ONCE)):
            loaded = Loaded(*map(sum, zip(loaded, _load(states, some, writers), strict=True)))
            progress(loaded.users, total)
    return loaded


def named(user_id: Id, item_id: Id, time_s: int, action: str | None) -> Event:
    """Return an event under a name that follows from the rest of it, for one that came without."""
    text = f"{type(item_id).__name__}\x1f{item_id}\x1f{time_s}\x1f{action}"
    name = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return Event(f"loaded-{name}", user_id, item_id, time_s, action)


def _load(states: UserStates, people: list[Person], writers: ThreadPoolExecutor) -> Loaded:
    there = states.read([person.user_id for person in people])
    pairs = [(person, known) for person, known in zip(people, there, strict=True) if not known.forgotten]
    appended = states.append([event for pair in pairs for event in _missing(*pair)])
    follows = [person for person, known in pairs if person.follows and known.follows is None]
    list(writers.map(lambda person: states.follow(person.user_id, person.follows or ()), follows))
    return Loaded(
        users=len(people),
        events=sum(len(person.events) for person in people),
        new_events=sum(appended.new),
        new_follows=len(follows),
        forgotten=len(people) - len(pairs),
    )


def _missing(person: Person, known: Person) -> Iterator[Event]:
    """Yield the events that the store does not hold, whatever their name."""
    held = {(type(event.item_id), *event[2:]) for event in known.events}
    return (event for event in person.events if (type(event.item_id), *event[2:]) not in held)
