"""A real server on loopback: it drains, is replaced, closes what asks nothing, and says in one line why it cannot."""

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple
from unittest.mock import Mock

import httpx
import polars as pl
import pytest
from fastapi import FastAPI
from uvicorn import Config

from multitudes import Client
from multitudes.client import Event, RecommendRequest
from multitudes.errors import UnavailableError
from multitudes.service import server as server_module
from multitudes.service.server import _Server, _Worker, duplicate_socket, listen
from tests.release.small_release import publish_small
from tests.waiting import PATIENCE_S, until

MAIN = [sys.executable, "-c", "from multitudes.cli.main import main; main()"]


class Running(NamedTuple):
    """A service in a process of its own."""

    process: "subprocess.Popen[str]"
    url: str
    line: str
    journal: Path

    def end(self) -> tuple[int, str]:
        """Request it to end; return its exit code and what it wrote to stderr."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, self.journal.read_text()


@contextmanager
def serving(releases: Path, *options: str, settings: str = "", workers: str = "1") -> Iterator[Running]:
    config = releases.parent / "serve.toml"
    config.write_text("[deadlines]\ndefault_ms = 20000\n[state]\nread_s = 20\nwrite_s = 20\n" + settings)
    call = [*MAIN, "serve", str(releases), "--port", "0", "--workers", workers, "--config", str(config), *options]
    journal = releases.parent / "journal"
    with journal.open("w") as stream:  # a pipe that nobody reads is full after some requests, and stops the service
        process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=stream, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, journal.read_text()
        url = json.loads(line)["url"] if "--json" in options else line.split(" · ")[0]
        yield Running(process, url, line, journal)
    finally:
        process.kill()
        process.communicate()


def measured(running: Running) -> str:
    return httpx.get(f"{running.url}/metrics", timeout=PATIENCE_S).text


@pytest.mark.slow
def test_it_serves_follows_releases_and_ends_with_everything_written_down(releases):
    with serving(releases) as running, Client(running.url, deadline_s=PATIENCE_S) as client:
        assert running.line.endswith(" · release 0001 · 20 items · 3 users\n")
        before = client.recommend(RecommendRequest(user_id="ann", n=3))
        assert client.events([Event("ann", 105), Event("ann", 106)]).new == 2
        after = client.recommend(RecommendRequest(user_id="ann", n=3))
        assert not {105, 106} & {c.item_id for c in after.candidates}, "just seen"
        assert before.candidates != after.candidates
        publish_small(releases)
        until(lambda: client.recommend(RecommendRequest(user_id="ann")).release == "0002")
        code, err = running.end()
    assert (code, err.count("Traceback")) == (0, 0)
    assert all(isinstance(json.loads(line), dict) for line in err.splitlines())
    logs = releases.with_name("releases.service") / "logs"
    events = pl.read_parquet(logs / "events" / "*.parquet")
    served = pl.read_parquet(logs / "served" / "*.parquet")
    assert events["item_id"].to_list() == [105, 106]
    assert set(served["release"]) == {"0001", "0002"}
    assert before.request_id in served["request_id"].to_list()
    assert not list(logs.rglob("*.spool"))
    data = [logs.parent, *logs.parent.rglob("*")]
    assert [path for path in data if path.stat().st_mode & 0o077] == [], "they tell who did what"


@pytest.mark.slow
def test_what_was_accepted_before_sigterm_is_answered(releases):
    """A request whose body is still on its way when the signal comes."""
    body = json.dumps({"user_id": "ann", "n": 2}).encode()
    lines = ("POST /v1/recommend HTTP/1.1", "host: localhost", "content-type: application/json")
    head = "\r\n".join([*lines, f"content-length: {len(body)}", "", ""])
    with serving(releases) as running:
        host, port = running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode() + body[:5])
            until(lambda: "multitudes_requests_in_flight 2.0" in measured(running))  # it, and this question
            running.process.send_signal(signal.SIGTERM)
            until(lambda: not listens(host, int(port)))
            connection.sendall(body[5:])
            answer = connection.makefile("rb").read()
        assert running.process.wait(PATIENCE_S) == 0
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"server:" not in answer.lower()
    assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["candidates"]) == 2


def turns_until_taken(clients: int, sockets: Callable[[socket.socket], list[socket.socket]]) -> int:
    """Return in how many turns of the server's loop all are taken who connected before.

    A turn in which nobody is taken does not count: on a busy machine the kernel may hand some over later.
    """
    uvloop = pytest.importorskip("uvloop")

    async def turns() -> int:
        loop, taken, number = asyncio.get_running_loop(), list[asyncio.Protocol](), 0

        def made() -> asyncio.Protocol:
            taken.append(asyncio.Protocol())
            return taken[-1]

        with listen("127.0.0.1", 0) as listening:
            waiting = [socket.create_connection(listening.getsockname()) for _ in range(clients)]
            servers = [await loop.create_server(made, sock=one) for one in sockets(listening)]
            while (before := len(taken)) < clients:
                await asyncio.sleep(0)
                number += len(taken) > before
            for connection in waiting:
                connection.close()
            for server in servers:
                server.close()
        return number

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(turns())


def test_an_idle_server_wakes_for_the_date_alone_and_ends_at_a_signal(monkeypatch):
    monkeypatch.setattr(server_module, "_DATE_INTERVAL_S", 2 * PATIENCE_S)
    server, ticks = _Worker(Config(FastAPI(), log_config=None), []).server, list[int]()
    assert isinstance(server, _Server)

    async def tick(counter: int) -> bool:
        ticks.append(counter)
        if len(ticks) == 1:
            asyncio.get_running_loop().call_later(0.3, server.handle_exit, signal.SIGTERM, None)  # it waits by then
        return server.should_exit

    monkeypatch.setattr(server, "on_tick", tick)
    asyncio.run(asyncio.wait_for(server.main_loop(), PATIENCE_S))
    assert ticks == [0, 0], "every tick renews the date"


def test_many_who_connect_at_once_are_taken_at_once():
    assert turns_until_taken(20, duplicate_socket) <= 5
    assert turns_until_taken(20, lambda listening: [listening]) >= 20, "the control"


def listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.slow
def test_a_connection_that_asks_nothing_is_closed_and_others_are_not(releases):
    with serving(releases, settings="[http]\nclient_s = 3\n") as running:
        host, port = running.url.removeprefix("http://").split(":")
        kept = HTTPConnection(host, int(port), timeout=PATIENCE_S)
        for _ in range(2):  # the second time on the same connection, which else would have been found closed
            kept.request("GET", "/healthz")
            assert kept.getresponse().read()
        silent = socket.create_connection((host, int(port)))
        half = socket.create_connection((host, int(port)))
        half.sendall(b"POST /v1/recommend HTTP/1.1\r\nhost: loc")
        slow = socket.create_connection((host, int(port)))
        slow.sendall(b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n{")
        behind = socket.create_connection((host, int(port)))  # it is closed a while later than those before
        behind.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert behind.recv(12) == b"HTTP/1.1 200"
        behind.sendall(b"GET /healthz HTTP/1.1\r\n")
        for connection, begins in ((silent, b""), (half, b""), (slow, b"HTTP/1.1 408")):
            connection.settimeout(PATIENCE_S)
            assert connection.makefile("rb").read()[:12] == begins
            connection.close()
        with behind:
            behind.settimeout(PATIENCE_S)
            assert b"HTTP/1.1" not in behind.makefile("rb").read()
        kept.request("GET", "/healthz")  # idle for longer than the others, after an answer: another rule, of 75 s
        assert kept.getresponse().status == 200
        kept.close()
        assert running.end()[0] == 0


@pytest.mark.slow
def test_a_connection_that_reads_nothing_is_ended_and_does_not_hold_up_the_end_of_the_service(releases):
    with serving(releases, settings="[http]\nclient_s = 0.5\n") as running:
        host, port = running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as deaf:
            deaf.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n" * 1_000)
            until(lambda: is_reset(deaf))
        code, err = running.end()
        assert (code, err.count("Traceback")) == (0, 0)
        assert "clients do not read their answers" in err


def is_reset(connection: socket.socket) -> bool:
    """Return whether the other side ended a connection, without reading what it sent before."""
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET


def test_the_parent_of_workers_loads_nothing_of_what_answers():
    imports = "import sys, multitudes.cli.serve, multitudes.service.server, multitudes.service.api_keys"
    answers = "print(*{'faiss', 'polars', 'onnxruntime', 'pyarrow', 'fastapi'} & set(sys.modules))"
    for more, loads in (("", False), (", multitudes.service.app", True)):
        command = [sys.executable, "-c", f"{imports}{more}; {answers}"]
        loaded = subprocess.run(command, capture_output=True, text=True, check=True)
        assert bool(loaded.stdout.strip()) is loads, "the second is the control"


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_all_end_with_the_first(releases):
    with serving(releases, "--json", workers="2") as running, Client(running.url, deadline_s=PATIENCE_S) as client:
        said = json.loads(running.line)
        assert said == {"url": running.url, "release": "0001", "workers": 2, "items": 20, "users": 3}
        client.recommend(RecommendRequest(user_id="ann"))
        until(lambda: len(children(running.process.pid)) == 2)
        before = children(running.process.pid)
        os.kill(min(before), signal.SIGKILL)
        until(lambda: len(children(running.process.pid) - before) == 1)
        client.recommend(RecommendRequest(user_id="ann"))
        assert client.events([Event("ann", 105, event_id="e")]).new == 1
        assert client.events([Event("ann", 105, event_id="e")]).new == 0, "whichever worker is asked"
        left = children(running.process.pid)
        assert running.end()[0] == 0
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))
    with Client(running.url, deadline_s=0.2) as client, pytest.raises(UnavailableError, match="cannot be reached"):
        client.releases()


def children(pid: int) -> set[int]:
    """Return the workers of a process; Python's own helper that watches shared memory is none."""
    found = set[int]()
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # it is gone, and its parent knows
            if "resource_tracker" not in Path(f"/proc/{child}/cmdline").read_text():
                found.add(int(child))
    return found


@pytest.mark.slow
def test_a_worker_that_cannot_be_replaced_yet_leaves_the_others_serving(releases):
    with serving(releases, workers="2") as running, Client(running.url, deadline_s=PATIENCE_S) as client:
        until(lambda: "multitudes_processes 2.0" in measured(running))
        before, away = children(running.process.pid), releases.with_name("away")
        releases.rename(away)
        os.kill(min(before), signal.SIGKILL)
        until(lambda: len(children(running.process.pid) - before) == 1)
        (new,) = children(running.process.pid) - before
        until(lambda: new not in children(running.process.pid))  # it has failed
        assert running.process.poll() is None
        assert client.recommend(RecommendRequest(user_id="ann")).candidates
        away.rename(releases)
        until(lambda: "multitudes_processes 2.0" in measured(running))
        code, err = running.end()
    assert code == 0
    assert "a worker cannot start" in err


@pytest.mark.slow
@pytest.mark.parametrize("is_ready", [False, True])
def test_ctrl_c_ends_all_processes_also_while_they_start(releases, is_ready):
    call = [*MAIN, "serve", str(releases), "--port", "0", "--workers", "2"]
    process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        if is_ready:
            assert process.stdout.readline().endswith("2 workers\n")
        else:
            until(lambda: len(children(process.pid)) == 2)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 130
        assert err.endswith("multitudes: interrupted\n")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(releases):
    with serving(releases, workers="2") as running, Client(running.url, deadline_s=PATIENCE_S) as client:
        client.recommend(RecommendRequest(user_id="ann"))
        until(lambda: len(children(running.process.pid)) == 2)
        left = children(running.process.pid)
        running.process.kill()
        try:
            until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))
        finally:  # they hold the pipes that ``serving`` reads to their end
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_that_cannot_start_gives_its_reason_once(releases, workers):
    call = [*MAIN, "serve", str(releases), "--port", "0", "--workers", workers]
    folder = releases.with_name("releases.service")
    folder.mkdir()
    (folder / "state.sqlite").write_text("this is no database" * 100)
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 4
    told = [line for line in done.stderr.splitlines() if not line.startswith("{")]  # without the journal
    assert len(told) == 1, told
    assert told[0].startswith("multitudes: ")
    assert "state.sqlite" in told[0]


@pytest.mark.slow
def test_several_processes_need_a_folder_for_temporary_files(releases):
    call = [sys.executable, "-c", "import tempfile; tempfile._candidate_tempdir_list = list; from multitudes.cli.main"]
    call[-1] += " import main; main()"
    call += ["serve", str(releases), "--port", "0", "--workers", "2"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr.count("Traceback")) == (5, 0), done.stderr
    assert "TMPDIR" in done.stderr


def test_a_worker_that_hangs_when_the_service_ends_is_killed(monkeypatch):
    monkeypatch.setattr(server_module, "_HANGS_AFTER_S", 0.1)
    worker = object.__new__(_Worker)
    worker.config = Mock(timeout_graceful_shutdown=0)
    worker.process = get_context("spawn").Process(target=time.sleep, args=(600,))
    worker.process.start()
    worker.join()
    assert worker.process.exitcode == -signal.SIGKILL
