"""A process that appends events to a file and says which were new to it: to compete with another."""

import subprocess
import sys
from pathlib import Path

from multitudes.state.protocol import Event, StateConfig
from multitudes.state.sqlite import SQLiteStateStore

USERS = 50
NOW_S = 1_000_000
PATIENT = StateConfig(timeout_s=60)  # on a slow disk SQLite may give the file to the same process many times in a row


def event(number: int) -> Event:
    return Event(str(number), f"user {number % USERS}", number, NOW_S + number, None)


def append(file: Path, count: int) -> None:
    """Append events one by one and print the number of each that is new."""
    states = SQLiteStateStore(file, PATIENT)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for number in range(count):
        if states.append([event(number)]).new[0]:
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
    states.close()


def start(file: Path, count: int) -> "subprocess.Popen[str]":
    """Start a process that appends, and wait until it has begun."""
    command = [sys.executable, __file__, str(file), str(count)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def numbers(child: "subprocess.Popen[str]") -> list[int]:
    """Return the numbers that it said, once it has ended."""
    said, _ = child.communicate()
    return [int(line) for line in said.splitlines(keepends=True) if line.endswith("\n")]


if __name__ == "__main__":
    append(Path(sys.argv[1]), int(sys.argv[2]))
