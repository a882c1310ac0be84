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
from typing import Any, Final, TypeVar
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
_Call = tuple[Id, Sequence[str | int], int]  # of a script, for one user: its arguments, and how many numbers it returns
SCHEMES: Final = ("redis", "rediss", "unix")
_PLACE_DIGITS: Final = 16
_MAX_ANSWER_BYTES: Final = 64 << 20  # of a call; those of a batch of 256 users with 200 events each are 10 MiB
_RETURN_IF_EMPTIED: Final = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end\n"
# What a told event_id becomes in an erasure; the same event sent again is recognised by it.
_DIGEST: Final = f"""local prefix = '{ERASED_PREFIX}'
local function digest(name) return prefix .. redis.sha1hex(ARGV[1] .. KEYS[2] .. name) end
"""
# KEYS: secret, user, events, told. ARGV: secret, now, seconds to remember an event_id, events to keep, skew, then for
# each event its event_id, its time and the event as JSON. Returns 1 for each new event, else 0. Events ahead of now are
# dated to now: the clock was ahead when they arrived. ``late``: see ``validation.late_before_s``.
_APPEND: Final = (
    _RETURN_IF_EMPTIED
    + _DIGEST
    + """
local now, remember, keep, skew = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local forgot = tonumber(redis.call('HGET', KEYS[2], 'forgot') or nil)
redis.call('HINCRBY', KEYS[2], 'place', 0)  -- a server whose memory is full rejects a script at its first write alone
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
_SET_FOLLOWED_TOPICS: Final = _RETURN_IF_EMPTIED + "redis.call('HSET', KEYS[2], 'follows', ARGV[2]) return {1}"
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
  if string.sub(name, 1, #prefix) ~= prefix then name = digest(name) end
  redis.call('ZADD', KEYS[4], told[i + 1], name)
end
if #told > 0 then redis.call('EXPIRE', KEYS[4], ARGV[3]) end
return {known}
"""
)


class _Socket:
    """A socket on which an answer is bounded in its size, and in the time since its command; redis bounds each read."""

    def __init__(self, connected: Any) -> None:  # noqa: ANN401
        self._connected, self._left_bytes = connected, _MAX_ANSWER_BYTES
        self._until_s = time.monotonic() + connected.gettimeout()

    def sendall(self, data: bytes) -> None:
        """Send a command, or a piece of it."""
        self._left_bytes, self._until_s = _MAX_ANSWER_BYTES, time.monotonic() + self._connected.gettimeout()
        self._connected.sendall(data)

    def recv(self, *given: int) -> bytes:
        """Receive a piece of an answer."""
        data: bytes = self._connected.recv(*given)
        self._check(len(data))
        return data

    def recv_into(self, *given: Any) -> int:  # noqa: ANN401
        """Receive a piece of an answer, as hiredis does."""
        size: int = self._connected.recv_into(*given)
        self._check(size)
        return size

    def _check(self, size: int) -> None:
        self._left_bytes -= size
        is_over = self._left_bytes < 0 or time.monotonic() > self._until_s
        if is_over and self._connected.gettimeout() != 0:  # 0: redis looks whether a connection is idle
            raise TimeoutError

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Return all else of the socket."""
        return getattr(self._connected, name)


class _Connection:
    """A connection on such a socket, before a class of redis among its bases."""

    def _connect(self) -> _Socket:
        return _Socket(super()._connect())  # type: ignore[misc]


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
            pool = self._server.connection_pool
            pool.connection_class = type("Connection", (_Connection, pool.connection_class), {})
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
        calls: list[_Call] = []
        for (_, user_id), own in positions.items():
            arguments: list[str | int] = [*settings]
            for event in (accepted[i] for i in own):
                arguments += [event.event_id, event.time_s, json.dumps([event.event_id, event.item_id, event.action])]
            calls.append((user_id, arguments, len(own)))
        new = [False] * len(accepted)
        for own, answer in zip(positions.values(), self._run(_APPEND, calls), strict=True):
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
        self._run(_SET_FOLLOWED_TOPICS, [(user_id, [json.dumps(list(followed_topics))], 1)])

    def erase(self, user_id: Id, at_s: int | None = None) -> bool:
        """Erase a user; see ``UserStateStore.erase``."""
        erased_s = int(self._clock()) if at_s is None else at_s
        return bool(self._run(_ERASE, [(user_id, [erased_s, self._config.remember_ids_s], 1)])[0][0])

    def ping(self) -> None:
        """Check that the server answers."""
        with self._translate_errors():
            if not self._server.ping():
                raise ValueError

    check = ping  # the server checks its files itself when it starts

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        self._server.close()

    def _run(self, script: str, calls: Sequence[_Call]) -> list[list[int]]:
        """Send calls of a script in one pipeline and return their answers."""

        def query(secret: bytes) -> list[list[int]] | None:
            pipeline = self._server.pipeline(transaction=False)
            for user_id, arguments, _ in calls:
                keys = self._keys(secret, user_id)
                pipeline.eval(script, len(keys), *keys, secret, *arguments)
            answers: list[list[int]] = pipeline.execute()
            if None in answers:
                return None
            for (*_, expected), answer in zip(calls, answers, strict=True):
                if len(answer) != expected or {type(number) for number in answer} != {int}:
                    raise ValueError
            return answers

        return self._with_secret(query) if calls else []

    def _with_secret(self, query: Callable[[bytes], T | None]) -> T:
        """Call ``query`` with the server's secret; it returns None if the server has another one."""
        with self._translate_errors():
            for _ in range(3):
                if self._secret and (answer := query(self._secret)) is not None:
                    return answer
                name = self._prefix + "secret"
                if (found := self._server.get(name)) is None:  # a full server can still be read
                    self._server.set(name, self._secret or os.urandom(SECRET_BYTES), nx=True)
                    found = self._server.get(name)
                self._secret = found
                if len(self._secret) != SECRET_BYTES:
                    raise ValueError
        raise StateError(f"{self._address}: was emptied repeatedly; does another program use it?")

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
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
            kind = type(error).__name__
            raise StateError(f"{self._address}: answers as no Redis server does ({kind}); check what it is") from None


def _parse_user_state(user_id: Id, rows: Sequence[tuple[bytes, float]], fields: Sequence[bytes | None]) -> UserState:
    events = []
    for text, time_s in rows:
        event_id, item_id, action = json.loads(text[_PLACE_DIGITS:])
        events.append(Event(event_id, user_id, item_id, int(time_s), action))
    topics, erased = fields
    followed = None if topics is None else tuple(json.loads(topics))
    state = UserState(user_id, tuple(events), followed, erased is not None, None if erased is None else int(erased))
    hash(state)  # a list or an object within it, which nobody stored, is a TypeError
    return state


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
