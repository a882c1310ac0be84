"""Writers to be killed, each as the library writes and as one would without thinking of crashes: the control.

One of them writes one thing after the other at a path, in a process of its own, and tells the number of each.
"""

import random
import time
from contextlib import suppress
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import polars as pl

from multitudes.errors import ArtefactError
from multitudes.release import delta_log
from multitudes.release.delta_log import Delta
from multitudes.release.store import ReleaseStore

FILES, SIZE = ("a", "b", "c", "d"), 1_000  # of a release, all of which carry one tag
OWNER = "me"
ITEMS = pl.DataFrame({"item_id": range(20_000)})  # large enough to be caught in the middle


def write_release(folder: Path, number: int) -> None:
    """Write slowly enough to be caught in the middle."""
    for name in FILES:
        (folder / name).write_text(str(number % 10) * SIZE)
        time.sleep(0.001)


def publish(root: Path, number: int) -> None:
    store = ReleaseStore(root)
    with store.stage() as stage:
        write_release(stage, number)
        store.commit(stage)


def publish_naively(root: Path, number: int) -> None:
    """Write where readers look."""
    version = f"{sum(1 for _ in (root / 'versions').iterdir()) + 1:04d}"
    (root / "versions" / version).mkdir()
    (root / "CURRENT").write_text(version)
    write_release(root / "versions" / version, number)


def add(file: Path, number: int) -> None:
    delta_log.append_delta(file, OWNER, Delta("remove", number, ITEMS))


def add_naively(file: Path, number: int) -> None:
    """Write all that is known anew, in its place."""
    made = [*delta_log.read_deltas(file, OWNER).deltas, Delta("remove", number, ITEMS)]
    file.unlink(missing_ok=True)
    for change in made:
        delta_log.append_delta(file, OWNER, change)


WRITERS = {writer.__name__: writer for writer in (publish, publish_naively, add, add_naively)}


def write_until_killed(writer: str, path: Path, first: int, after_s: float) -> int:
    """Run a writer from ``first`` on and kill it so long after its first number; return its last."""
    from_here = get_context("forkserver")  # a process that has imported all forks each writer in milliseconds
    from_here.set_forkserver_preload([__name__])
    ours, theirs = from_here.Pipe(duplex=False)
    child = from_here.Process(target=_write, args=(writer, path, first, theirs))
    child.start()
    theirs.close()
    done = ours.recv()
    time.sleep(after_s)
    child.kill()
    child.join()
    with suppress(EOFError, OSError):  # the last number may be half-sent
        while True:
            done = ours.recv()
    return int(done)


def _write(writer: str, path: Path, first: int, to: Connection) -> None:
    for number in count(first):
        WRITERS[writer](path, number)
        to.send(number)


def is_torn(root: Path) -> bool:
    """Tell whether what a reader finds is not exactly whole releases, of which one serves."""
    store = ReleaseStore(root)
    try:
        folders = [store.folder(), *map(store.folder, store.versions()[-3:])]
        releases = [[(folder / name).read_text() for name in FILES] for folder in folders]
    except (ArtefactError, FileNotFoundError):
        return True
    return any(len(set(contents)) != 1 or len(contents[0]) != SIZE for contents in releases)


def torn_releases(root: Path, writer: str, kills: int, seed: int = 0) -> int:
    """Kill a publisher at random moments; return how often a reader then found a torn release."""
    publish(root, 0)
    wait, torn = random.Random(seed), 0
    for _ in range(kills):
        write_until_killed(writer, root, 0, wait.uniform(0, 0.03))
        torn += is_torn(root)
    return torn
