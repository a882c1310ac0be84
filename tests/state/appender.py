"""A process that appends events to a file and says which it was told are kept: to be killed, or to compete."""

import subprocess
import sys
import time
from pathlib import Path

from multitudes.state.protocol import Event
from multitudes.state.sqlite import SQLiteStateStore
from multitudes.state.sqlite_database import GroupCommit

USERS = 50
NOW_S = 1_000_000


def event(number: int) -> Event:
    return Event(str(number), f"user {number % USERS}", number, NOW_S + number, None)


def commit_nothing(self, batch) -> None:
    """The control: answer before the commit, which comes with a later one."""
    if not self._connection.in_transaction:
        self._connection.execute("BEGIN IMMEDIATE")
    for write, future in batch:
        future.set_result(write(self._connection))


def append(file: Path, count: int, *, hastily: bool = False) -> None:
    """Append events one by one and print the number of each that is new."""
    if hastily:
        GroupCommit._commit = commit_nothing  # type: ignore[method-assign]
    states = SQLiteStateStore(file)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for number in range(count):
        if states.append([event(number)]).new[0]:
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
    states.close()


def start(file: Path, count: int, *options: str) -> "subprocess.Popen[str]":
    """Start a process that appends, and wait until it has begun."""
    command = [sys.executable, __file__, str(file), str(count), *options]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def numbers(child: "subprocess.Popen[str]") -> list[int]:
    """Return the numbers that it said, once it has ended."""
    said, _ = child.communicate()
    return [int(line) for line in said.splitlines(keepends=True) if line.endswith("\n")]


def lost(file: Path, after_s: float, *options: str) -> tuple[int, int]:
    """Kill a process that appends; return how many events it was told are kept, and how many of them are not."""
    child = start(file, 1_000_000, *options)
    time.sleep(after_s)
    child.kill()
    said = numbers(child)
    states = SQLiteStateStore(file)
    kept = {e.item_id for person in states.read([f"user {n}" for n in range(USERS)]) for e in person.events}
    states.close()
    return len(said), len(set(said[-USERS:]) - kept)  # older ones may have made room


if __name__ == "__main__":
    append(Path(sys.argv[1]), int(sys.argv[2]), hastily="--hastily" in sys.argv)
