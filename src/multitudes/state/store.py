"""Which store an address means: a file of this machine, or a server.

Many users at once into a store: what is there already stays, so it may be done again, or after it was cut short.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from multitudes.errors import UsageError
from multitudes.ids import Id
from multitudes.progress import Progress, silent
from multitudes.state.protocol import Event, StateConfig, UserState, UserStateStore
from multitudes.state.sqlite import SQLiteStateStore

_SERVERS = ("redis", "rediss", "unix")


def open_state_store(address: str | Path, config: StateConfig | None = None) -> UserStateStore:
    """Open the store at a path (SQLite) or at ``redis://``, ``rediss://`` or ``unix://`` (Redis, Valkey).

    Raises:
        UsageError: the address is of no known kind, or the file cannot be written.
        ArtefactError: the file is no store, or of another version.
        MissingError: the package for such a server is not installed.
    """
    scheme = re.match(r"(\w+)://", str(address))
    if scheme is None:
        return SQLiteStateStore(address, config)
    if scheme[1] not in _SERVERS:
        raise UsageError(f"a store of user states at {scheme[1]}://…; expected a path, or redis://HOST:PORT")
    from multitudes.state.redis import RedisStateStore  # noqa: PLC0415 (an extra)

    return RedisStateStore(str(address), config)


_USER_BATCH = 100
_WRITERS = 16  # follows are stated one by one; together they share a commit


class LoadResult(NamedTuple):
    """What became of the users that were given."""

    users: int = 0
    events: int = 0  # that were given
    new_events: int = 0  # that the store did not know
    new_followed_topics: int = 0  # users whose follows the store did not know
    erased: int = 0  # users who asked to be forgotten: nothing of them was loaded


def load_users(
    store: UserStateStore, user_states: Iterable[UserState], total: int, progress: Progress = silent
) -> LoadResult:
    """Fill a store.

    Args:
        store: the store.
        user_states: what is to be known; of their events, those that the store holds already are left out.
        total: how many people there are, for ``progress``.
        progress: told after every hundred users.

    Raises:
        StateError: the store does not answer; what was loaded until then stays, and loading again goes on.
    """
    loaded, remaining = LoadResult(), iter(user_states)
    with ThreadPoolExecutor(_WRITERS, thread_name_prefix="load") as writers:
        while some := list(islice(remaining, _USER_BATCH)):
            loaded = LoadResult(*map(sum, zip(loaded, _load_batch(store, some, writers), strict=True)))
            progress(loaded.users, total)
    return loaded


def event_with_derived_id(user_id: Id, item_id: Id, time_s: int, action: str | None) -> Event:
    """Return an event under a name that follows from the rest of it, for one that came without."""
    text = f"{type(item_id).__name__}\x1f{item_id}\x1f{time_s}\x1f{action}"
    name = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return Event(f"loaded-{name}", user_id, item_id, time_s, action)


def _load_batch(states: UserStateStore, people: list[UserState], writers: ThreadPoolExecutor) -> LoadResult:
    there = states.read([person.user_id for person in people])
    pairs = [(person, known) for person, known in zip(people, there, strict=True) if not known.erased]
    appended = states.append([event for pair in pairs for event in _missing(*pair)])
    follows = [person for person, known in pairs if person.followed_topics and known.followed_topics is None]
    list(writers.map(lambda person: states.set_followed_topics(person.user_id, person.follows or ()), follows))
    return LoadResult(
        users=len(people),
        events=sum(len(person.events) for person in people),
        new_events=sum(appended.new),
        new_followed_topics=len(follows),
        erased=len(people) - len(pairs),
    )


def _missing(person: UserState, known: UserState) -> Iterator[Event]:
    """Yield the events that the store does not hold, whatever their name."""
    held = {(type(event.item_id), *event[2:]) for event in known.events}
    return (event for event in person.events if (type(event.item_id), *event[2:]) not in held)
