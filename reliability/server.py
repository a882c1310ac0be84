"""A service in a process of its own, on loopback, at a port that the system gives; ended by who started it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multitudes.atomic import write_text

MAIN = "from multitudes.cli.main import main; main()"
_END_S = 60.0
Settings = Mapping[str, Mapping[str, Any]]
# Deadlines that a busy machine keeps, for trials that judge no time.
UNHURRIED: Settings = {"deadlines": {"default_ms": 20_000}, "state": {"read_s": 5, "write_s": 20}}


@dataclass(frozen=True)
class Server:
    """A process that serves."""

    process: "subprocess.Popen[str]"
    port: int
    folder: Path  # where it writes

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    def end(self) -> int:
        """Ask it to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_END_S)

    def kill(self) -> None:
        """End it at once, as a lost machine would."""
        self.process.kill()
        self.process.wait()


@contextmanager
def serving(
    releases: Path,
    folder: Path,
    settings: Settings | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    launcher: Sequence[str] = (),
    before: str = "",
    workers: int = 1,
) -> Iterator[Server]:
    """Serve releases; what the service writes is in ``folder``, its journal in ``folder/journal``.

    Args:
        releases: folder of releases.
        folder: the data folder of the service.
        settings: tables of the configuration.
        environment: of the process; by default that of this one.
        launcher: a command that starts the process.
        before: Python that the process runs before it imports anything.
        workers: processes that answer. With one, controls change it from within, and a proxy spreads the load.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = {**(settings or {}), "data": {"folder": str(folder)}}
    write_text(folder / "serve.toml", toml(tables))
    python = [*launcher, sys.executable, "-c", f"{before}\n{MAIN}"]
    command = [*python, "serve", str(releases), "--port", "0", "--workers", str(workers)]
    command += ["--config", str(folder / "serve.toml")]
    with run_program(command, folder, environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the service did not begin: {(folder / 'journal').read_text(encoding='utf-8')}")
        yield Server(process, int(line.split(" · ")[0].rpartition(":")[2]), folder)


@contextmanager
def run_program(
    command: list[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """Run a program until the end of the block, whatever happens in it; its stderr goes to ``folder/journal``."""
    with (folder / "journal").open("a", encoding="utf-8") as journal:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=journal, text=True, env=environment or dict(os.environ)
        )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def toml(tables: Settings) -> str:
    """Return a configuration as TOML."""
    return "".join(
        f"[{name}]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in table.items())
        for name, table in tables.items()
    )


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else f'"{value}"'
