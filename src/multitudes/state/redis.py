"""User states on a Redis or Valkey server, from Redis 6.2: for many replicas of a service.

All keys of one user begin alike, with ``arrival.digest``; no key or value holds a user's id.

=============================== ===================================================================================
``PREFIX:1:secret``             what makes the names of users
``PREFIX:1:{USER}``             hash: place (of the last event), follows (JSON), forgot (when they asked to be)
``PREFIX:1:{USER}:events``      sorted by time: place in the order of arrival, then the event as JSON
``PREFIX:1:{USER}:told``        names of events by time of arrival; expires by itself
=============================== ===================================================================================

Every change of one user is one script, so it happens as a whole. Each script asks first whether the secret is still the
one that named the user: a server that was emptied has another.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from multitudes.errors import StateError, UsageError, missing_extra
from multitudes.ids import Id
from multitudes.state.protocol import AppendResult, Event, StateConfig, UserState
from multitudes.state.validation import SECRET_BYTES, check_text, user_digest, validate_events

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as error:
    raise missing_extra("redis", "redis") from error

T = TypeVar("T")
SCHEMES: Final = ("redis", "rediss", "unix")
_PLACE_DIGITS: Final = 16
_UNLESS_EMPTIED: Final = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end\n"
# KEYS: secret, person, events, told. ARGV: secret, now, seconds that a name is remembered, events kept, then of each
# event its name, time, and itself. Returns 1 for each that is new, else 0.
_APPEND: Final = (
    _UNLESS_EMPTIED
    + """
local now, remember, keep = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local forgot = redis.call('HGET', KEYS[2], 'forgot')
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now - remember)
local new = {}
for i = 5, #ARGV, 3 do
  local late = forgot and tonumber(ARGV[i + 1]) < tonumber(forgot)
  if late or redis.call('ZSCORE', KEYS[4], ARGV[i]) then
    new[#new + 1] = 0
  else
    local place = redis.call('HINCRBY', KEYS[2], 'place', 1)
    redis.call('ZADD', KEYS[4], now, ARGV[i])
    redis.call('ZADD', KEYS[3], ARGV[i + 1], string.format('%016d', place) .. ARGV[i + 2])
    new[#new + 1] = 1
  end
end
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -keep - 1)
redis.call('EXPIRE', KEYS[4], remember)
return new
"""
)
_SET_FOLLOWED_TOPICS: Final = _UNLESS_EMPTIED + "redis.call('HSET', KEYS[2], 'follows', ARGV[2]) return 1"
_ERASE: Final = (
    _UNLESS_EMPTIED
    + """
local known = redis.call('EXISTS', KEYS[3]) + redis.call('HEXISTS', KEYS[2], 'follows')
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
redis.call('HSET', KEYS[2], 'forgot', ARGV[2])
return known
"""
)


class _Call(NamedTuple):
    """One script for one user."""

    script: str
    user_id: Id
    arguments: Sequence[bytes | str | int]


class RedisStateStore:
    """A store on a server. As durable as the server is set to be: see docs/state.md.

    Nothing is tried again: a call ends within the time-outs of one connection and one answer.
    """

    def __init__(
        self,
        url: str,
        config: StateConfig | None = None,
        clock: Callable[[], float] = time.time,
        prefix: str = "multitudes",
    ) -> None:
        """Take the address ``redis://[[USER]:PASSWORD@]HOST:PORT[/DB]``; the server is not asked before it is needed.

        Raises:
            UsageError: it is no such address.
            MissingError: the package ``redis`` is not installed.
        """
        self._config, self._clock, self._prefix = config or StateConfig(), clock, f"{prefix}:1:"
        self._where, self._closed = _without_password(url), False
        self._secret = b""
        wait_s = self._config.timeout_s
        try:
            self._server: Any = redis.Redis.from_url(
                url, socket_timeout=wait_s, socket_connect_timeout=wait_s, retry=Retry(NoBackoff(), 0), protocol=2
            )
        except ValueError as error:
            raise UsageError(f"{self._where}: {error}; expected redis://HOST:PORT") from None

    def append(self, events: Sequence[Event]) -> AppendResult:
        """Take events in; see the protocol."""
        now_s = int(self._clock())
        kept, cut = validate_events(events, now_s, self._config.skew_s)
        settings = (now_s, self._config.remember_ids_s, self._config.keep)
        own: dict[tuple[type, Id], list[int]] = {}  # positions of the events of each user
        for i, event in enumerate(kept):
            own.setdefault((type(event.user_id), event.user_id), []).append(i)
        answers = self._run(
            [
                _Call(_APPEND, user_id, [*settings, *(part for i in places for part in _event_arguments(kept[i]))])
                for (_, user_id), places in own.items()
            ]
        )
        new = [False] * len(kept)
        for places, answer in zip(own.values(), answers, strict=True):
            for i, is_new in zip(places, answer, strict=True):
                new[i] = bool(is_new)
        return AppendResult(new, sum(map(all, zip(new, cut, strict=True))))

    def read(self, user_ids: Sequence[Id]) -> list[UserState]:
        """Return what is known of users, all from one moment; see the protocol."""

        def ask(secret: bytes) -> list[UserState] | None:
            pipeline = self._server.pipeline(transaction=True).get(self._prefix + "secret")
            for user_id in user_ids:
                _, person, events, _ = self._keys(secret, user_id)
                pipeline.zrange(events, 0, -1, withscores=True).hmget(person, "follows", "forgot")
            found, *rows = pipeline.execute()
            if found != secret:
                return None
            return [_parse_user_state(*row) for row in zip(user_ids, rows[::2], rows[1::2], strict=True)]

        return self._with_secret(ask)

    def set_followed_topics(self, user_id: Id, followed_topics: Sequence[str]) -> None:
        """State what a user follows; see the protocol."""
        for topic in followed_topics:
            check_text(topic, "topic")
        self._run([_Call(_SET_FOLLOWED_TOPICS, user_id, [json.dumps(list(followed_topics))])])

    def erase(self, user_id: Id) -> bool:
        """Forget a user; see the protocol."""
        return bool(self._run([_Call(_ERASE, user_id, [int(self._clock())])])[0])

    def ping(self) -> None:
        """Return where the server answers."""
        with self._translate_errors():
            self._server.ping()

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        self._server.close()

    def _run(self, calls: Sequence[_Call]) -> list[Any]:
        """Return the answers of scripts, which are sent together."""

        def ask(secret: bytes) -> list[Any] | None:
            pipeline = self._server.pipeline(transaction=False)
            for script, user_id, arguments in calls:
                keys = self._keys(secret, user_id)
                pipeline.eval(script, len(keys), *keys, secret, *arguments)
            answers = pipeline.execute()
            return None if any(answer is None for answer in answers) else answers

        return self._with_secret(ask) if calls else []

    def _with_secret(self, ask: Callable[[bytes], T | None]) -> T:
        """Return what ``ask`` returns for the secret of the server; None: it has another."""
        with self._translate_errors():
            for _ in range(2):
                answer = ask(self._secret) if self._secret else None
                if answer is not None:
                    return answer
                name = self._prefix + "secret"
                self._server.set(name, self._secret or os.urandom(SECRET_BYTES), nx=True)
                self._secret = self._server.get(name)
            answer = ask(self._secret)
        if answer is None:
            raise StateError(f"{self._where}: is emptied again and again; does somebody else use it?")
        return answer

    def _keys(self, secret: bytes, user_id: Id) -> list[str]:
        person = f"{self._prefix}{{{user_digest(user_id, secret).hex()}}}"
        return [self._prefix + "secret", person, person + ":events", person + ":told"]

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        if self._closed:
            raise StateError(f"{self._where}: the store is closed")
        try:
            yield
        except redis.exceptions.TimeoutError:
            raise StateError(f"{self._where}: no answer within {self._config.timeout_s:g} s; try again") from None
        except redis.exceptions.RedisError as error:
            raise StateError(f"{self._where}: {error}; look at the server, then try again") from None


def _event_arguments(event: Event) -> tuple[str, int, str]:
    return event.event_id, event.time_s, json.dumps([event.event_id, event.item_id, event.action])


def _parse_user_state(user_id: Id, rows: Sequence[tuple[bytes, float]], person: Sequence[bytes | None]) -> UserState:
    events = []
    for text, time_s in rows:
        event_id, item_id, action = json.loads(text[_PLACE_DIGITS:])
        events.append(Event(event_id, user_id, item_id, int(time_s), action))
    follows, forgot = person
    return UserState(
        user_id, tuple(events), None if follows is None else tuple(json.loads(follows)), forgot is not None
    )


def _without_password(url: str) -> str:
    """Return an address that may be shown.

    Raises:
        UsageError: it is no address of a server.
    """
    try:
        parts = urlsplit(url)
        host = f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme not in SCHEMES:
        raise UsageError("this is no address of a Redis server; expected redis://HOST:PORT, rediss:// or unix://PATH")
    return f"{parts.scheme}://{host}{parts.path}"
