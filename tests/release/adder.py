"""A writer of changes to be killed: appends one numbered change after the other and says which are on the disk.

Run by hand for a long trial::

    python tests/release/adder.py --kills 200
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from multitudes.errors import ArtefactError
from multitudes.release import delta_log
from multitudes.release.delta_log import Delta

OWNER = "me"
ITEMS = pl.DataFrame({"item_id": range(20_000)})  # large enough to be caught in the middle


def add_safely(file: Path, number: int) -> None:
    delta_log.append_delta(file, OWNER, Delta("remove", number, ITEMS))


def add_naively(file: Path, number: int) -> None:
    """The control: write all that is known anew, in its place."""
    made = [*delta_log.read_deltas(file, OWNER).deltas, Delta("remove", number, ITEMS)]
    file.unlink(missing_ok=True)
    for change in made:
        delta_log.append_delta(file, OWNER, change)


ADDERS = {"safe": add_safely, "naive": add_naively}


def numbers(file: Path) -> list[int]:
    """Return the numbers of the changes that a reader finds."""
    return [change.at_s for change in delta_log.read_deltas(file, OWNER).deltas]


def kill_and_look(file: Path, adder: str, kills: int, seed: int = 0) -> int:
    """Kill a writer at random moments, up to ``kills`` times, until a reader misses or misreads something.

    Returns:
        How many kills passed unharmed: ``kills`` where nothing went wrong.
    """
    wait = random.Random(seed)
    for unharmed in range(kills):
        command = [sys.executable, __file__, "--add", str(file), "--adder", adder]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        first = child.stdout.readline()  # it has begun
        time.sleep(wait.uniform(0, 0.1))
        child.kill()
        said = [first, *child.stdout.read().splitlines()]
        child.wait()
        child.stdout.close()
        acknowledged = int([line for line in said if line.strip().isdigit()][-1])
        try:
            found = numbers(file)
        except ArtefactError:
            return unharmed
        # What was not acknowledged may be there as a whole; nothing else.
        if found[: acknowledged + 1] != list(range(acknowledged + 1)) or len(found) > acknowledged + 2:
            return unharmed
    return kills


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--add", type=Path)
    parser.add_argument("--adder", choices=ADDERS, default="safe")
    parser.add_argument("--kills", type=int, default=200)
    arguments = parser.parse_args()
    if arguments.add is not None:
        begun = len(numbers(arguments.add))
        for number in range(begun, begun + 10_000):
            ADDERS[arguments.adder](arguments.add, number)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
    with tempfile.TemporaryDirectory() as folder:
        unharmed = kill_and_look(Path(folder) / "0001.log", arguments.adder, arguments.kills)
    sys.stdout.write(f"{arguments.adder}: {unharmed} of {arguments.kills} kills passed unharmed\n")


if __name__ == "__main__":
    main()
