"""Rejections by the protocol: what a client gets is what the middleware would have answered."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from io import StringIO
from threading import Thread
from time import sleep
from typing import Any

import pytest
from uvicorn import Config, Server
from uvicorn.protocols.http.flow_control import FlowControl

from multitudes.service.admission import AdmissionConfig
from multitudes.service.api_keys import ApiKeys, make_key
from multitudes.service.app import create_app
from multitudes.service.http_protocol import ServiceProtocol
from multitudes.service.in_flight import InFlightRequests
from multitudes.service.load_shedding import LoadSheddingMiddleware
from multitudes.service.server import listen
from multitudes.service.startup import Dependencies
from multitudes.service.unsent_answers import UnsentAnswers
from tests.service.conftest import ask

BODY = b'{"history":[]}'
HEAD = b"POST /v1/recommend HTTP/1.1\r\nhost: 127.0.0.1\r\n"
JSON = b"content-type: application/json\r\n"
pytestmark = pytest.mark.usefixtures("full")
REQUEST = HEAD + JSON + b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)


@contextmanager
def connected(deps: Dependencies) -> Iterator[socket.socket]:
    """Serve with the service's protocol, and connect."""
    protocol: Any = partial(ServiceProtocol, unsent=UnsentAnswers(60))
    options: dict[str, Any] = {"ws": "none", "log_config": None, "server_header": False, "timeout_keep_alive": 120}
    with listen("127.0.0.1", 0) as listening:
        server = Server(Config(create_app(deps), http=protocol, **options))
        thread = Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        with socket.create_connection(listening.getsockname(), timeout=60) as connection:
            yield connection
        server.should_exit = True
        thread.join(60)


def answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    got = b""
    while b"\r\n\r\n" not in got:
        got += connection.recv(1)
    status, *lines = got.decode().split("\r\n")[:-2]
    headers = dict(line.split(": ", 1) for line in lines)
    body = b""
    while len(body) < int(headers["content-length"]):
        body += connection.recv(int(headers["content-length"]) - len(body))
    return int(status.split()[1]), headers, body


def test_a_rejection_is_that_of_the_middleware_and_is_counted(deps: Dependencies, written: StringIO, monkeypatch):
    usual = ask(create_app(deps), "POST", "/v1/recommend", content=BODY)
    reached, pass_on = [], LoadSheddingMiddleware.__call__

    async def note(self, scope, receive, send) -> None:
        reached.append(scope["type"])
        await pass_on(self, scope, receive, send)

    monkeypatch.setattr(LoadSheddingMiddleware, "__call__", note)
    monkeypatch.setattr("multitudes.service.load_shedding._INTERVAL_S", 3_600.0)
    with connected(deps) as connection:
        connection.sendall(REQUEST + REQUEST)
        (status, headers, body), second = answer(connection), answer(connection)
    assert "http" not in reached, "the protocol has answered"
    assert (status, json.loads(body)["error"]) == (usual.status_code, usual.json()["error"])
    assert headers.keys() - {"date"} == usual.headers.keys()
    same = headers.keys() - {"date", "retry-after", "x-request-id"}
    assert {name: headers[name] for name in same} == {name: usual.headers[name] for name in same}
    assert 3 <= int(headers["retry-after"]) <= 5
    assert second[0] == 429
    assert len(second[1]["x-request-id"]) == 32
    page = deps.metrics.render()
    assert b'multitudes_shed_total{reason="in_flight",work="interactive"} 3.0' in page
    assert b'multitudes_requests_total{method="POST",route="/v1/recommend",status="429"} 3.0' in page
    assert b'multitudes_request_seconds_count{route="/v1/recommend"}' not in page, "zeros would hide slow answers"
    assert written.getvalue().count('"rejected"') == 2, "a line for an interval, of each service"


def test_the_connection_serves_on_though_the_body_comes_later(deps: Dependencies):
    with connected(deps) as connection:
        connection.sendall(REQUEST[:-5])
        assert answer(connection)[0] == 429
        connection.sendall(REQUEST[-5:])
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert answer(connection)[0] == 200
        connection.sendall(b"HEAD /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        connection.settimeout(30)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 "), "a head without a body is written, too"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (HEAD.replace(b"127.0.0.1", b"evil.example") + JSON + b"content-length: 0\r\n\r\n", 421),
        (HEAD + b"host: 127.0.0.1\r\n" + JSON + b"content-length: 0\r\n\r\n", 400),
        (HEAD + b"x-forwarded-for: 10.0.0.1\r\n" + JSON + b"content-length: 0\r\n\r\n", 421),
        (HEAD + JSON + b"content-length: 9999999\r\n\r\n", 429),
        (HEAD + JSON + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n", 429),
        (HEAD.replace(b"1.1", b"1.0") + JSON + b"content-length: 0\r\n\r\n", 429),
    ],
)
def test_what_is_unusual_gets_the_answer_of_the_middlewares(request_bytes, status, deps: Dependencies):
    with connected(deps) as connection:
        connection.sendall(request_bytes)
        got = answer(connection)
        assert got[0] == status
        if status == 429:
            assert got[1]["connection"] == "close"
            assert connection.recv(1) == b"", "it is closed"


def test_after_a_rejected_batch_or_events_nothing_is_read_for_a_moment(deps: Dependencies, monkeypatch):
    asked, pauses, complete = list[bytes](), list[bytes](), ServiceProtocol.on_headers_complete

    def note(self: ServiceProtocol) -> None:
        asked.append(self.url)
        complete(self)

    monkeypatch.setattr(ServiceProtocol, "on_headers_complete", note)
    monkeypatch.setattr(FlowControl, "pause_reading", lambda _: pauses.append(asked[-1]))
    with connected(deps) as connection:
        for path in ("/v1/recommend", "/v1/recommend/batch", "/v1/events"):
            connection.sendall(REQUEST.replace(b"/v1/recommend", path.encode()))
            assert answer(connection)[0] == 429
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert answer(connection)[0] == 200
    assert pauses == [b"/v1/recommend/batch", b"/v1/events"]


def test_a_key_is_checked_before_a_place_is(deps: Dependencies, tmp_path):
    keys = {scope: make_key(tmp_path / "keys", scope, (scope,)) for scope in ("recommend", "write")}
    with connected(replace(deps, keys=ApiKeys(tmp_path / "keys"))) as connection:
        for key, status in ((None, 401), ("mult_wrong", 401), (keys["write"], 403), (keys["recommend"], 429)):
            own = b"" if key is None else f"authorization: Bearer {key}\r\n".encode()
            connection.sendall(REQUEST.replace(JSON, JSON + own))
            assert answer(connection)[0] == status
    page = deps.metrics.render()
    assert b'multitudes_rejected_keys_total{key="",reason="unknown"} 1.0' in page, "counted once"


def test_trailers_are_no_headers(deps: Dependencies, tmp_path):
    key = make_key(tmp_path / "keys", "shop", ("recommend",))
    with connected(replace(deps, keys=ApiKeys(tmp_path / "keys"))) as connection:
        for place, status in (("head", 403), ("trailer", 401)):
            own = {place: f"authorization: Bearer {key}\r\n".encode()}
            head = HEAD.replace(b"recommend", b"nowhere") + own.get("head", b"") + JSON
            chunks = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)
            connection.sendall(head + chunks + own.get("trailer", b"") + b"\r\n")
            assert answer(connection)[0] == status


@pytest.mark.parametrize("with_keys", [True, False])
def test_behind_a_proxy_the_protocol_rejects_only_who_is_told_by_a_key(
    deps: Dependencies, tmp_path, monkeypatch, with_keys
):
    reached, pass_on = list[str](), LoadSheddingMiddleware.__call__

    async def note(self, scope, receive, send) -> None:
        reached.append(scope["type"])
        await pass_on(self, scope, receive, send)

    monkeypatch.setattr(LoadSheddingMiddleware, "__call__", note)
    key = make_key(tmp_path / "keys", "shop", ("recommend",))
    own = f"authorization: Bearer {key}\r\nx-forwarded-for: 10.0.0.1\r\n".encode()
    with connected(replace(deps, keys=ApiKeys(tmp_path / "keys") if with_keys else None)) as connection:
        connection.sendall(REQUEST.replace(JSON, JSON + own))
        assert answer(connection)[0] == (429 if with_keys else 421)
    assert ("http" in reached) == (not with_keys)


@pytest.mark.parametrize("later", [True, False])
def test_the_body_of_a_request_that_asks_for_another_protocol_is_no_request(deps: Dependencies, monkeypatch, later):
    monkeypatch.setattr(InFlightRequests, "is_full", False)
    monkeypatch.setattr(InFlightRequests, "excess_s", lambda *_: 0.0)
    upgrade = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n"
    inner = REQUEST.replace(b"/v1/recommend", b"/v1/never")
    outer = HEAD + JSON + upgrade + b"content-length: %d\r\n\r\n" % len(inner)
    with connected(deps) as connection:
        connection.sendall(outer if later else outer + inner)
        if later:
            sleep(0.2)
            connection.sendall(inner)
        assert answer(connection)[0] == 400, "its body is no JSON"
        connection.sendall(REQUEST.replace(JSON, JSON + upgrade) + REQUEST)
        assert answer(connection)[0] == answer(connection)[0] == 200
        connection.sendall(HEAD.replace(b"POST", b"GET") + b"connection: close, upgrade\r\nupgrade: h2c\r\n\r\n")
        status, headers, _ = answer(connection)
        assert (status, headers["connection"], connection.recv(1)) == (405, "close", b"")


@pytest.mark.parametrize(
    "sent",
    [
        b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
        2_000 * b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    ],
)
def test_no_request_is_read_again_for_ever(deps: Dependencies, monkeypatch, sent):
    reads, read = list[bytes](), ServiceProtocol.data_received

    def note(self: ServiceProtocol, data: bytes) -> None:
        reads.append(data)
        read(self, data)

    monkeypatch.setattr(ServiceProtocol, "data_received", note)
    with connected(deps) as connection, suppress(ConnectionError):
        connection.sendall(sent)
        while connection.recv(65_536):
            pass
    assert 1 < len(reads) < 100, "and the connection ended"


def test_while_places_are_free_nothing_is_rejected_here(deps: Dependencies, monkeypatch):
    monkeypatch.setattr(InFlightRequests, "is_full", False)
    monkeypatch.setattr(InFlightRequests, "excess_s", lambda *_: 0.0)
    with connected(deps) as connection:
        connection.sendall(REQUEST)
        assert answer(connection)[0] == 200


def test_the_more_are_rejected_the_later_and_the_more_apart_they_are_asked_to_come_again():
    made = InFlightRequests(AdmissionConfig(), 1)
    assert made.reject(0.5) == 0.5, "the first"
    for _ in range(100):
        made.enter(0.0)
        made.leave(0.01, "interactive")
        waits_s = [made.reject(0.5) for _ in range(4)]
    waits_s = [made.reject(0.5) for _ in range(200)]
    assert 0.5 <= min(waits_s) < 2
    assert 6 < max(waits_s) <= 30.5, "about eight seconds, and none too long"
