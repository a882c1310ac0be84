"""Open a store of user states, and fill one with many users.

Loading keeps what the store already has. To finish an interrupted load, run it again.
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

_SERVER_SCHEMES = ("redis", "rediss", "unix")
_USER_BATCH = 100
_WRITERS = 16  # followed topics are written one user at a time; concurrent writes share a commit


def open_state_store(address: str | Path, config: StateConfig | None = None) -> UserStateStore:
    """Open a store of user states, which the caller closes after use.

    ``address`` is a path (SQLite), or ``redis://``, ``rediss://`` or ``unix://`` (Redis, Valkey); ``config`` None: the
    defaults.

    Raises:
        UsageError: the address is of an unknown kind, or the file cannot be written.
        ArtefactError: the file is not a store, or has another version.
        MissingError: the package for such a server is not installed.
    """
    scheme = re.match(r"\s*([\w+.-]+)://", str(address))  # else a password within it would be the name of a file
    if scheme is None:
        return SQLiteStateStore(address, config)
    if scheme[1] not in _SERVER_SCHEMES:
        raise UsageError(f"a store of user states at {scheme[1]}://…; expected a path, or redis://HOST:PORT")
    from multitudes.state.redis import RedisStateStore  # noqa: PLC0415 (an extra)

    return RedisStateStore(str(address).strip(), config)


class LoadResult(NamedTuple):
    """Counts of what a load did."""

    users: int = 0
    events: int = 0  # given
    new_events: int = 0  # unknown to the store until now
    new_followed_topics: int = 0  # users whose followed topics the store did not know
    erased: int = 0  # users who asked to be erased; nothing of them was loaded


def load_users(
    store: UserStateStore, user_states: Iterable[UserState], total: int, progress: Progress = silent
) -> LoadResult:
    """Fill a store with users, and return what was given and what was new; events that it already holds are skipped.

    ``total`` is the number of users for ``progress``, which is called after every hundred.

    Raises:
        StateError: the store does not answer. What was loaded so far stays; loading again continues.
    """
    result, remaining = LoadResult(), iter(user_states)
    with ThreadPoolExecutor(_WRITERS, thread_name_prefix="load") as writers:
        while batch := list(islice(remaining, _USER_BATCH)):
            result = LoadResult(*map(sum, zip(result, _load_batch(store, batch, writers), strict=True)))
            progress(result.users, total)
    return result


def event_with_derived_id(user_id: Id, item_id: Id, time_s: int, action: str | None) -> Event:
    """Return an event whose ``event_id`` is a hash of its other fields, for data that has no event ids."""
    text = f"{type(item_id).__name__}\x1f{item_id}\x1f{time_s}\x1f{action}"
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return Event(f"loaded-{digest}", user_id, item_id, time_s, action)


def _load_batch(store: UserStateStore, users: list[UserState], writers: ThreadPoolExecutor) -> LoadResult:
    stored = store.read([user.user_id for user in users])
    pairs = [(user, known) for user, known in zip(users, stored, strict=True) if not known.erased]
    appended = store.append([event for pair in pairs for event in _missing_events(*pair)])
    new_topics = [
        (user.user_id, user.followed_topics)
        for user, known in pairs
        if user.followed_topics and known.followed_topics is None
    ]
    list(writers.map(lambda pair: store.set_followed_topics(*pair), new_topics))
    return LoadResult(
        users=len(users),
        events=sum(len(user.events) for user in users),
        new_events=sum(appended.new),
        new_followed_topics=len(new_topics),
        erased=len(users) - len(pairs),
    )


def _missing_events(user: UserState, known: UserState) -> Iterator[Event]:
    """Yield the events that the store does not hold; their ``event_id`` is not compared."""
    held = {(type(event.item_id), *event[2:]) for event in known.events}
    return (event for event in user.events if (type(event.item_id), *event[2:]) not in held)
