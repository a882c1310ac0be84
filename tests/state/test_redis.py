"""The Redis store: access, what it holds, and a server that is emptied under a running service."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from multitudes.errors import MissingError, StateError, UsageError
from multitudes.state.protocol import Event, StateConfig, UserState
from multitudes.state.redis import RedisStateStore
from multitudes.state.store import open_state_store
from tests.state.lying_redis import SECRET, Lie, always, dripping, endless, honest, lying_server
from tests.state.redis_server import PROGRAM, WHY_NOT, RedisServer

NOW = 1_000_000
PATIENT = StateConfig(timeout_s=60)
ANN = Event("a", "ann-with-a-name", "item-7", NOW, "view")
needs_server = pytest.mark.skipif(PROGRAM is None, reason=WHY_NOT)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    running = RedisServer(tmp_path_factory.mktemp("redis"), password="open-sesame").start()
    yield running
    running.kill()


def everything(states: RedisStateStore) -> bytes:
    server, found = states._server, b""
    for key in server.keys("*"):
        read = {b"string": server.get, b"hash": server.hgetall, b"zset": lambda key: server.zrange(key, 0, -1)}
        found += key + repr(read[server.type(key)](key)).encode()
    return found


@needs_server
def test_the_server_has_no_user_id_and_nothing_of_erased_users(server: RedisServer):
    states = RedisStateStore(server.url, PATIENT, prefix="forget")
    states.append([ANN, ANN._replace(event_id="b", user_id="bob", item_id="item-8")])
    states.set_followed_topics(ANN.user_id, ["Drama"])
    assert b"ann" not in everything(states)
    assert b"item-7" in everything(states), "control"
    states.erase(ANN.user_id)
    assert b"item-7" not in everything(states)
    assert b"Drama" not in everything(states)
    assert b"item-8" in everything(states)
    states.close()


@needs_server
def test_event_ids_expire(server: RedisServer):
    states = RedisStateStore(server.url, StateConfig(remember_ids_s=100, timeout_s=60), prefix="expire")
    states.append([ANN])
    (told,) = states._server.keys("expire:*:told")
    assert 0 < states._server.ttl(told) <= 100
    (events,) = states._server.keys("expire:*:events")
    assert states._server.ttl(events) == -1, "what somebody did does not"
    states.close()


@needs_server
def test_after_a_server_was_emptied_all_clients_use_the_new_secret(server: RedisServer):
    first, second = (RedisStateStore(server.url, PATIENT, prefix="emptied") for _ in range(2))
    first.append([ANN])
    assert second.read([ANN.user_id])[0].events == (ANN,)
    first._server.flushall()
    newcomer = RedisStateStore(server.url, PATIENT, prefix="emptied")
    newcomer.append([ANN])  # under a secret that the others do not know yet
    assert first.read([ANN.user_id]) == [UserState(ANN.user_id, (ANN,))]
    assert second.append([ANN]).new == [False]
    assert first._secret == second._secret == newcomer._secret
    for states in (first, second, newcomer):
        states.close()


@needs_server
def test_a_wrong_password_is_reported_and_not_shown(server: RedisServer):
    for url in (f"redis://127.0.0.1:{server.port}", f"redis://:wrong@127.0.0.1:{server.port}"):
        states = RedisStateStore(url, PATIENT)
        with pytest.raises(StateError, match=rf"redis://127\.0\.0\.1:{server.port}: .+") as caught:
            states.ping()
        assert "wrong" not in str(caught.value).split(": ")[0]
        with pytest.raises(StateError):
            states.read(["ann"])
        states.close()


@needs_server
def test_a_full_server_takes_no_event_and_erases_all_the_same(server: RedisServer):
    states = RedisStateStore(server.url, PATIENT, prefix="full")
    states.append([ANN])
    states._server.config_set("maxmemory", 1)
    try:
        with pytest.raises(StateError, match="used memory > 'maxmemory'"):
            states.append([ANN._replace(event_id="b")])
        (ann,) = RedisStateStore(server.url, PATIENT, prefix="full").read([ANN.user_id])
        assert [event.event_id for event in ann.events] == ["a"], "it can be read, also after a start"
        assert states.erase(ANN.user_id)
    finally:
        states._server.config_set("maxmemory", 0)
    assert states.append([ANN._replace(event_id="b", user_id="bob")]).new == [True]


def test_without_its_package_or_its_server_the_error_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    states = RedisStateStore("redis://127.0.0.1:1/3", PATIENT)
    with pytest.raises(StateError, match=r"^redis://127\.0\.0\.1:1/3: .*refused"):
        states.read(["ann"])
    states.close()
    monkeypatch.delitem(sys.modules, "multitudes.state.redis")
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingError, match=r"pip install 'multitudes\[redis\]'"):
        open_state_store("redis://127.0.0.1:1")
    open_state_store(tmp_path / "state.db").close()


@pytest.mark.parametrize("url", ["redis://host:port", "http://host", "redis://[::1"])
def test_an_invalid_address_is_rejected(url: str):
    with pytest.raises(UsageError, match="expected redis://HOST:PORT"):
        RedisStateStore(url)


def test_what_is_no_redis_server_is_one_line_and_nothing_is_acknowledged():
    lies = [
        b":5\r\n",
        b"+OK\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"$0\r\n\r\n",
        b"HTTP/1.1 400 Bad\r\n\r\n",
        b"$x\r\n",
    ]
    for answer in (*lies, 100_000 * b"*1\r\n", b":" + 9_999 * b"9" + b"\r\n", b"-MOVED 1 127.0.0.1:1\r\n"):
        with lying_server(always(answer)) as port:
            states = RedisStateStore(f"redis://127.0.0.1:{port}", PATIENT)
            calls = (
                states.ping,
                lambda own=states: own.read(["ann"]),
                lambda own=states: own.append([ANN]),
                lambda own=states: own.set_followed_topics("ann", ["x"]),
                lambda own=states: own.erase("ann"),
            )
            for call in calls:
                with pytest.raises(StateError, match=rf"^redis://127\.0\.0\.1:{port}: .+\Z"):
                    call()
            states.close()
    with lying_server(honest) as port:
        states = RedisStateStore(f"redis://127.0.0.1:{port}", PATIENT)
        states.ping()
        assert states.read(["ann"]) == [UserState("ann")], "the control"
        assert states.erase("ann")
        states.close()


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        (b"no JSON", b"$-1\r\n$-1\r\n"),
        (b'["e",{"id":1},null]', b"$-1\r\n$-1\r\n"),
        (b"[" * 100_000, b"$-1\r\n$-1\r\n"),
        (b'["e","item",null]', b"$3\r\n[[]\r\n$-1\r\n"),
        (b'["e","item",null]', b"$4\r\n[[]]\r\n$-1\r\n"),
        (b'["e","item",null]', b"$-1\r\n$4\r\nsoon\r\n"),
    ],
)
def test_a_state_that_no_store_wrote_is_one_line(row: bytes, fields: bytes):
    def lie(command: bytes) -> Iterator[bytes]:
        event = b"*2\r\n$%d\r\n%b%b\r\n$1\r\n5\r\n" % (16 + len(row), 16 * b"0", row)
        yield from [b"*3\r\n" + SECRET + event + b"*2\r\n" + fields] if command == b"EXEC" else honest(command)

    with lying_server(lie) as port:
        states = RedisStateStore(f"redis://127.0.0.1:{port}", PATIENT)
        with pytest.raises(StateError, match="as no Redis server does"):
            states.read(["ann"])
        states.close()


@pytest.mark.parametrize("lie", [dripping, endless])
def test_an_answer_without_end_is_given_up(lie: Lie, monkeypatch: pytest.MonkeyPatch):
    """Each read of it is short, so that the timeout of a read says nothing of it."""
    monkeypatch.setattr("multitudes.state.redis._MAX_ANSWER_BYTES", 1 << 20)
    with lying_server(lie) as port:
        states = RedisStateStore(f"redis://127.0.0.1:{port}", StateConfig(timeout_s=0.2))
        with pytest.raises(StateError, match=r"no answer within 0\.2 s"):
            states.read(["ann"])
        states.close()
