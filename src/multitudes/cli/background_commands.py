"""Commands that run in a process of their own, beside what this process does."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from multitudes.errors import MultitudesError

# Several commands in one process, so that their libraries are loaded once. It ends with the process that started it.
_PROGRAM = """
import json, os, sys, threading, time
from multitudes.cli.main import run

def watch(parent):
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)

threading.Thread(target=watch, args=[int(sys.argv[1])], daemon=True).start()
for arguments in json.loads(sys.argv[2]):
    if code := run(arguments):
        sys.exit(code)
"""


class BackgroundCommands:
    """A process that runs commands one after the other; see ``run_in_background``."""

    def __init__(self, process: "subprocess.Popen[str]", commands: tuple[list[str], ...]) -> None:
        self._process, self._commands = process, commands

    def wait(self) -> str:
        """Wait for the end, and return what was printed.

        Raises:
            MultitudesError: a command failed; with its error, and its exit code.
        """
        printed, errors = self._process.communicate()
        code = self._process.returncode
        if code:
            named = ", ".join(f"multitudes {arguments[0]}" for arguments in self._commands)
            reason = f"signal {-code}" if code < 0 else f"exit code {code}"
            error = MultitudesError((errors.splitlines() or [f"{named}: {reason}"])[-1].removeprefix("multitudes: "))
            error.exit_code = max(code, 1)
            raise error
        return printed.rstrip("\n")

    def end(self) -> None:
        """End the process if it still runs."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def run_in_background(*commands: list[str]) -> Iterator[BackgroundCommands]:
    """Run commands of multitudes, one after the other, while the block does something else.

    Args:
        commands: arguments of each, such as ``["evaluate", "RUN"]``. The first that fails is the last.

    Yields:
        The process. If the block fails, or this process is killed, it ends: nothing writes any longer into a folder
        that is removed.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(os.getpid()), json.dumps(commands)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches only this process
    )
    running = BackgroundCommands(process, commands)
    try:
        yield running
    finally:
        running.end()
