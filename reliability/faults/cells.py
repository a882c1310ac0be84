"""One cell: a service, a fault at a moment, what a user sees, and what is there afterwards."""

import os
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path
from shutil import copytree
from typing import Any

import polars as pl

from multitudes.atomic import write_text
from multitudes.logs.logs import Logs
from multitudes.logs.schemas import IdTypes
from reliability.faults.dependencies import Surroundings
from reliability.requests_in_turn import Reply, ask, wait_until
from reliability.server import MAIN, Server, run_program, toml

_ASKED, _SENT = 6, 4  # requests for candidates, and events, at a time
_READY_S, _RECOVERY_S, _ANSWER_S, _END_S, _TAKE_UP_S = 120.0, 30.0, 5.0, 60.0, 90.0
SETTINGS: dict[str, dict[str, Any]] = {
    "deadlines": {"default_ms": 2_000},
    "state": {"read_s": 0.2, "write_s": 2},
    "logs": {"segment_s": 2},
}


class Cell:
    """A service in its surroundings, and what was seen of it."""

    def __init__(self, made: Surroundings, world: Path) -> None:
        folder = made.folder or made.place
        self._in, self._world, self._stack = made, world, ExitStack()
        self._releases, self._data = folder / "releases", folder / "data"
        self._names = {"world": world, "place": made.place, "folder": folder}
        self._environment = {**os.environ, **made.environment}
        self._users, self._items = ([*range(1, 1 + count)] for count in (_ASKED, 100))
        self._told = set[str]()  # acknowledged events
        self.seen: dict[str, Any] = {"sees": "", "said": "", "afterwards": ""}

    def run(self, fault: str, moment: str) -> dict[str, Any]:
        """Return what was seen of a fault at a moment."""
        if "prepare" in self._in.publish:
            self._in.be(fault)
            code, self.seen["said"] = self._publish()
            self._in.be("")
            self.seen |= {"sees": f"`prepare` exits {code}", "afterwards": f"exits {self._publish()[0]}"}
            return self.seen | {"felt": self._in.felt()}
        if "--config" in self._in.publish:
            code, said = self._publish()
            assert code == 0, said
        else:
            copytree(self._world / "releases", self._releases)
        self._data.mkdir(parents=True)
        with self._stack:
            self._begin_and_harm(fault, moment)
            self.seen["felt"] = self._in.felt()
            self._in.be("")
            self._recover("0002" if moment == "publish" else "")
        Logs(self._data / "logs", IdTypes("int64", "int64")).close()
        segments = list((self._data / "logs" / "events").glob("*.parquet"))
        logged = set(pl.read_parquet(segments)["event_id"]) if segments else set()
        journal = (self._in.place / "journal").read_text(encoding="utf-8")
        self.seen["traceback"] = "Traceback (most" in journal
        return self.seen | {"told": len(self._told), "unlogged": len(self._told - logged)}

    def _begin_and_harm(self, fault: str, moment: str) -> None:
        server = self._begin()
        self._ask(server)
        if moment == "start":
            self._end(server)
            if self._in.workers == 1:
                self._in.be(fault)
            server = self._begin(fault if self._in.workers > 1 else "")
            self.seen["sees"] = self._ask(server) if server.port else self._end(server, "does not start")
            return
        self._in.be(fault)
        if moment == "serving":
            self.seen["sees"] = self._ask(server)
        elif moment == "stop":
            self.seen["sees"] = self._end(server, "ends")
        else:
            code, said = self._publish()
            began_s = time.monotonic()
            taken = code == 0 and _waits(partial(self._serves, server, "0002"), _TAKE_UP_S)
            took = f"taken up in {time.monotonic() - began_s:.0f} s" if taken else "the release before answers"
            self.seen["sees"] = f"`publish` exits {code}; {took}"
            if code:
                self._in.be("")
                self.seen |= {"sees": f"{self.seen['sees']}; mended: exits {self._publish()[0]}", "said": said}

    def _begin(self, fault: str = "") -> Server:
        """Start a service, and wait until it answers; its port is 0 if it does not."""
        config = self._in.place / "serve.toml"
        sections = {name: SETTINGS[name] | self._in.settings.get(name, {}) for name in SETTINGS}
        write_text(config, toml({**sections, "data": {"folder": str(self._data)}}))
        command = [sys.executable, "-c", MAIN, "serve", str(self._releases), "--port", "0", "--config", str(config)]
        command += ["--workers", str(self._in.workers)]
        process = self._stack.enter_context(run_program(command, self._in.place, self._environment))
        self._in.pid = process.pid
        if fault:
            self._in.be(fault)
        assert process.stdout is not None
        line = process.stdout.readline() if select.select([process.stdout], [], [], _READY_S)[0] else ""
        self._server = Server(process, int(line.split(" · ")[0].rpartition(":")[2] or 0), self._in.place)
        return self._server

    def _end(self, server: Server, word: str = "") -> str:
        """End a service, and say how it ended."""
        began_s = time.monotonic()
        server.process.terminate()
        try:
            code = server.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            server.kill()
            return f"{word}: **hangs**"
        lines = (self._in.place / "journal").read_text(encoding="utf-8").splitlines()
        self.seen["said"] = next((line for line in reversed(lines) if not line.startswith("{")), "")
        return f"{word}: exit {code} after {time.monotonic() - began_s:.0f} s"

    def _publish(self) -> tuple[int, str]:
        """Run the command that publishes; return its exit code and the last line of what it said."""
        call = [sys.executable, "-c", MAIN, *self._in.publish.format(**self._names).split()]
        try:
            done = subprocess.run(
                call, env=self._environment, capture_output=True, text=True, check=False, timeout=_READY_S
            )
        except subprocess.TimeoutExpired:
            return -1, "**hangs**"
        lines = [line for line in done.stderr.splitlines() if line.startswith(("multitudes: ", "Traceback"))]
        return done.returncode, (lines or [""])[-1]

    def _ask(self, server: Server) -> str:
        """Ask for candidates and send events; return what came, and keep the reason where something is amiss."""
        answers = [_try(server, "POST", "/v1/recommend", {"user_id": user, "n": 5}) for user in self._users]
        events = [self._send(server, user) for user in self._users[:_SENT]]
        ready = [_try(server, "GET", "/readyz")]
        self.seen["said"] = next(filter(None, map(_reason, [*events, *answers, *ready])), "")
        return f"recommend {_count_words(answers)}; events {_count_words(events)}; readyz {_count_words(ready)}"

    def _send(self, server: Server, user: int) -> Reply:
        name = f"e-{time.monotonic_ns()}"
        event = {"event_id": name, "user_id": user, "item_id": self._items[len(self._told) % len(self._items)]}
        if (answer := _try(server, "POST", "/v1/events", {"events": [event]})).status == 200:
            self._told.add(name)
        return answer

    def _serves(self, server: Server, release: str) -> bool:
        answer = _try(server, "POST", "/v1/recommend", {"user_id": self._users[0], "n": 5})
        return answer.status == 200 and bool(answer.record["release"] >= release)

    def _is_well(self, server: Server) -> bool:
        answer = _try(server, "POST", "/v1/recommend", {"user_id": self._users[0], "n": 5})
        return not _reason(answer) and self._send(server, 1).status == 200

    def _recover(self, release: str) -> None:
        """Wait until all is well, by itself or after a start; then look for what was acknowledged."""
        server, said = self._server, self.seen["said"]
        runs = server.port and server.process.poll() is None
        how = "by itself"
        if not runs or not _waits(lambda: self._is_well(server) and self._serves(server, release), _RECOVERY_S):
            self._end(server)
            server, how = self._begin(), "after a start"
            if not server.port or not _waits(lambda: self._is_well(server), _RECOVERY_S):
                how = "**not** after a start"
                if not server.port:
                    self._end(server)
                said = f"{said}; {self.seen['said']}"
        answers = [_try(server, "GET", f"/v1/users/{user}") for user in self._users] if server.port else []
        found = {event["event_id"] for answer in answers for event in answer.record.get("events", [])}
        is_known = bool(answers) and all(answer.status == 200 for answer in answers)
        lost = len(self._told - found) if is_known else "not known"
        self.seen |= {"afterwards": f"well {how}", "said": said, "lost": lost}
        with suppress(subprocess.TimeoutExpired):
            server.end()


def _waits(is_so: Callable[[], bool], seconds: float) -> bool:
    """Return whether something becomes true in so many seconds."""
    wait_until(is_so, seconds)
    return is_so()


def _try(server: Server, method: str, path: str, body: object = None) -> Reply:
    try:
        return ask(server, method, path, body, patience_s=_ANSWER_S)
    except (OSError, HTTPException):
        return Reply(0, {"error": {"message": "no answer"}})


def _reason(reply: Reply) -> str:
    """Return why an answer is not what it should be, or nothing."""
    record = reply.record
    if reply.status != 200:
        return str(record["error"]["message"] if isinstance(record, dict) else record)
    if "status" in record:
        return "; ".join(
            f"{name}: {record[name]}" for name in record if record[name] != "ok" and record["status"] != "ok"
        )
    return str(record.get("reason") or "")


def _count_words(replies: list[Reply]) -> str:
    words = Counter(
        f"{reply.status or 'no answer'}{', marked' * (reply.status == 200 and bool(_reason(reply)))}"
        for reply in replies
    )
    return " and ".join(word if len(words) == 1 else f"{times} × {word}" for word, times in words.items())
