"""The store of user states on a Redis (6.2 or later) or Valkey server, for several machines.

All keys of a user share the prefix ``{USER}``, a ``validation.user_digest``; no key or value holds a user id.

=============================== ===================================================================================
``PREFIX:1:secret``             the key of the user digests
``PREFIX:1:{USER}``             hash: place (of the last event), follows (JSON), forgot (time of the erasure request)
``PREFIX:1:{USER}:events``      sorted by time: place in the order of arrival, then the event as JSON
``PREFIX:1:{USER}:told``        event_ids by time of arrival, digests after an erasure; the key expires
=============================== ===================================================================================

Every change of a user is one script, so it is atomic. Each script first checks that the secret is still the one of the
digest: a server that was emptied gets another secret.
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
from multitudes.state.validation import ERASED_PREFIX, SECRET_BYTES, check_text, user_digest, validate_events

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as error:
    raise missing_extra("redis", "redis") from error

T = TypeVar("T")
SCHEMES: Final = ("redis", "rediss", "unix")
_PLACE_DIGITS: Final = 16
_RETURN_IF_EMPTIED: Final = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end\n"
# What a told event_id becomes in an erasure; the same event sent again is recognised by it.
_DIGEST: Final = (
    "local function digest(name) return '" + ERASED_PREFIX + "' .. redis.sha1hex(ARGV[1] .. KEYS[2] .. name) end\n"
)
# KEYS: secret, user, events, told. ARGV: secret, now, seconds to remember an event_id, events to keep, skew, then for
# each event its event_id, its time and the event as JSON. Returns 1 for each new event, else 0. Events ahead of now are
# dated to now: the clock was ahead when they arrived. ``late``: see ``validation.late_before_s``.
_APPEND: Final = (
    _RETURN_IF_EMPTIED
    + _DIGEST
    + """
local now, remember, keep, skew = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local forgot = tonumber(redis.call('HGET', KEYS[2], 'forgot') or nil)
local late_before = forgot and (now >= forgot and forgot or now - skew)
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now - remember)
for _, ahead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. string.format('%d', now + skew), '+inf')) do
  redis.call('ZADD', KEYS[3], now, ahead)
end
local new = {}
for i = 6, #ARGV, 3 do
  local late = forgot and (tonumber(ARGV[i + 1]) < late_before or redis.call('ZSCORE', KEYS[4], digest(ARGV[i])))
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
_SET_FOLLOWED_TOPICS: Final = _RETURN_IF_EMPTIED + "redis.call('HSET', KEYS[2], 'follows', ARGV[2]) return 1"
_ERASE: Final = (
    _RETURN_IF_EMPTIED
    + _DIGEST
    + """
local known = redis.call('EXISTS', KEYS[3]) + redis.call('HEXISTS', KEYS[2], 'follows')
local forgot = tonumber(redis.call('HGET', KEYS[2], 'forgot') or ARGV[2])
local told = redis.call('ZRANGE', KEYS[4], 0, -1, 'WITHSCORES')
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
redis.call('HSET', KEYS[2], 'forgot', string.format('%d', math.max(forgot, tonumber(ARGV[2]))))
for i = 1, #told, 2 do
  local name = told[i]
  if string.sub(name, 1, """
    + str(len(ERASED_PREFIX))
    + ") ~= '"
    + ERASED_PREFIX
    + """' then name = digest(name) end
  redis.call('ZADD', KEYS[4], told[i + 1], name)
end
if #told > 0 then redis.call('EXPIRE', KEYS[4], ARGV[3]) end
return known
"""
)


class _Call(NamedTuple):
    """A script for one user."""

    script: str
    user_id: Id
    arguments: Sequence[bytes | str | int]


class RedisStateStore:
    """A ``UserStateStore`` on a server. It is as durable as the server's settings: see docs/state.md.

    Nothing is retried: a call takes at most the timeouts of one connection and one answer.
    """

    def __init__(
        self,
        url: str,
        config: StateConfig | None = None,
        clock: Callable[[], float] = time.time,
        prefix: str = "multitudes",
    ) -> None:
        """Prepare a client of ``redis://[[USER]:PASSWORD@]HOST:PORT[/DB]``, ``rediss://…`` or ``unix://PATH``.

        It connects on the first call. ``clock`` returns the seconds since 1970; ``prefix`` is that of all keys.

        Raises:
            UsageError: ``url`` is not such a URL.
        """
        self._config, self._clock, self._prefix = config or StateConfig(), clock, f"{prefix}:1:"
        self._address, self._closed = _without_password(url), False
        self._secret = b""
        timeout_s = self._config.timeout_s
        try:
            self._server: Any = redis.Redis.from_url(
                url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0), protocol=2
            )
        except ValueError as error:
            raise UsageError(f"{self._address}: {error}; expected redis://HOST:PORT") from None

    def append(self, events: Sequence[Event]) -> AppendResult:
        """Store events; see ``UserStateStore.append``."""
        now_s = int(self._clock())
        accepted, clamped = validate_events(events, now_s, self._config.skew_s)
        settings = (now_s, self._config.remember_ids_s, self._config.keep, self._config.skew_s)
        positions: dict[tuple[type, Id], list[int]] = {}  # of the events of each user
        for i, event in enumerate(accepted):
            positions.setdefault((type(event.user_id), event.user_id), []).append(i)
        answers = self._run(
            [
                _Call(_APPEND, user_id, [*settings, *(arg for i in own for arg in _event_arguments(accepted[i]))])
                for (_, user_id), own in positions.items()
            ]
        )
        new = [False] * len(accepted)
        for own, answer in zip(positions.values(), answers, strict=True):
            for i, is_new in zip(own, answer, strict=True):
                new[i] = bool(is_new)
        return AppendResult(new, sum(map(all, zip(new, clamped, strict=True))))

    def read(self, user_ids: Sequence[Id]) -> list[UserState]:
        """Return the state of users from one transaction; see ``UserStateStore.read``."""

        def query(secret: bytes) -> list[UserState] | None:
            pipeline = self._server.pipeline(transaction=True).get(self._prefix + "secret")
            for user_id in user_ids:
                _, user, events, _ = self._keys(secret, user_id)
                pipeline.zrange(events, 0, -1, withscores=True).hmget(user, "follows", "forgot")
            server_secret, *replies = pipeline.execute()
            if server_secret != secret:
                return None
            return [_parse_user_state(*row) for row in zip(user_ids, replies[::2], replies[1::2], strict=True)]

        return self._with_secret(query)

    def set_followed_topics(self, user_id: Id, followed_topics: Sequence[str]) -> None:
        """Replace the topics that a user follows; see ``UserStateStore.set_followed_topics``."""
        for topic in followed_topics:
            check_text(topic, "topic")
        self._run([_Call(_SET_FOLLOWED_TOPICS, user_id, [json.dumps(list(followed_topics))])])

    def erase(self, user_id: Id, at_s: int | None = None) -> bool:
        """Erase a user; see ``UserStateStore.erase``."""
        erased_s = int(self._clock()) if at_s is None else at_s
        return bool(self._run([_Call(_ERASE, user_id, [erased_s, self._config.remember_ids_s])])[0])

    def ping(self) -> None:
        """Check that the server answers."""
        with self._translate_errors():
            self._server.ping()

    def check(self) -> None:
        """Check that the server answers; it checks its files itself when it starts."""
        self.ping()

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        self._server.close()

    def _run(self, calls: Sequence[_Call]) -> list[Any]:
        """Send scripts in one pipeline and return their answers."""

        def query(secret: bytes) -> list[Any] | None:
            pipeline = self._server.pipeline(transaction=False)
            for script, user_id, arguments in calls:
                keys = self._keys(secret, user_id)
                pipeline.eval(script, len(keys), *keys, secret, *arguments)
            answers = pipeline.execute()
            return None if any(answer is None for answer in answers) else answers

        return self._with_secret(query) if calls else []

    def _with_secret(self, query: Callable[[bytes], T | None]) -> T:
        """Call ``query`` with the server's secret; it returns None if the server has another one."""
        with self._translate_errors():
            for _ in range(2):
                answer = query(self._secret) if self._secret else None
                if answer is not None:
                    return answer
                name = self._prefix + "secret"
                self._server.set(name, self._secret or os.urandom(SECRET_BYTES), nx=True)
                self._secret = self._server.get(name)
            answer = query(self._secret)
        if answer is None:
            raise StateError(f"{self._address}: was emptied repeatedly; does another program use it?")
        return answer

    def _keys(self, secret: bytes, user_id: Id) -> list[str]:
        user = f"{self._prefix}{{{user_digest(user_id, secret).hex()}}}"
        return [self._prefix + "secret", user, user + ":events", user + ":told"]

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        if self._closed:
            raise StateError(f"{self._address}: the store is closed")
        try:
            yield
        except redis.exceptions.TimeoutError:
            raise StateError(f"{self._address}: no answer within {self._config.timeout_s:g} s; try again") from None
        except redis.exceptions.RedisError as error:
            raise StateError(f"{self._address}: {error}; check the server, then try again") from None


def _event_arguments(event: Event) -> tuple[str, int, str]:
    return event.event_id, event.time_s, json.dumps([event.event_id, event.item_id, event.action])


def _parse_user_state(user_id: Id, rows: Sequence[tuple[bytes, float]], fields: Sequence[bytes | None]) -> UserState:
    events = []
    for text, time_s in rows:
        event_id, item_id, action = json.loads(text[_PLACE_DIGITS:])
        events.append(Event(event_id, user_id, item_id, int(time_s), action))
    topics, erased = fields
    followed = None if topics is None else tuple(json.loads(topics))
    return UserState(user_id, tuple(events), followed, erased is not None, None if erased is None else int(erased))


def _without_password(url: str) -> str:
    """Return the URL of a server without user and password, for error messages."""
    try:
        parts = urlsplit(url)
        host = f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme not in SCHEMES:
        raise UsageError("not the URL of a Redis server; expected redis://HOST:PORT, rediss:// or unix://PATH")
    return f"{parts.scheme}://{host}{parts.path}"
