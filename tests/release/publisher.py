"""A publisher to be killed: writes release after release, each of several files that must agree with each other.

Run by hand for a long trial::

    python tests/release/publisher.py --kills 1000
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from multitudes.errors import ArtefactError
from multitudes.release.store import ReleaseStore

FILES = ("a", "b", "c", "d")


def write_release(folder: Path, tag: str) -> None:
    """Write files that all carry ``tag``, slowly enough to be caught in the middle."""
    for name in FILES:
        (folder / name).write_text(tag * 1_000)
        time.sleep(0.001)


def publish_safely(root: Path, tag: str) -> None:
    store = ReleaseStore(root)
    with store.stage() as stage:
        write_release(stage, tag)
        store.commit(stage)


def publish_naively(root: Path, tag: str) -> None:
    """The control: write where readers look, as one would without thinking of crashes."""
    version = f"{sum(1 for _ in (root / 'versions').iterdir()) + 1:04d}"
    (root / "versions" / version).mkdir()
    (root / "CURRENT").write_text(version)
    write_release(root / "versions" / version, tag)


PUBLISHERS = {"safe": publish_safely, "naive": publish_naively}


def is_torn(root: Path) -> bool:
    """Tell whether what a reader finds is not exactly whole releases, of which one serves."""
    store = ReleaseStore(root)
    try:
        folders = [store.folder(), *map(store.folder, store.versions()[-3:])]
        releases = [[(folder / name).read_text() for name in FILES] for folder in folders]
    except (ArtefactError, FileNotFoundError):
        return True
    return any(len(set(contents)) != 1 or len(contents[0]) != 1_000 for contents in releases)


def kill_and_look(root: Path, publisher: str, kills: int, seed: int = 0) -> int:
    """Kill a publisher ``kills`` times at random moments; return how often a reader then found a torn release."""
    (root / "versions").mkdir(parents=True)
    publish_safely(root, "0")
    wait, torn = random.Random(seed), 0
    for _ in range(kills):
        command = [sys.executable, __file__, "--publish", str(root), "--publisher", publisher]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()  # it has started to publish
        time.sleep(wait.uniform(0, 0.03))
        child.kill()
        child.wait()
        child.stdout.close()
        torn += is_torn(root)
    return torn


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--publish", type=Path)
    parser.add_argument("--publisher", choices=PUBLISHERS, default="safe")
    parser.add_argument("--kills", type=int, default=1_000)
    arguments = parser.parse_args()
    if arguments.publish is not None:
        sys.stdout.write("publishing\n")
        sys.stdout.flush()
        for number in range(1_000_000):
            PUBLISHERS[arguments.publisher](arguments.publish, str(number % 10))
    with tempfile.TemporaryDirectory() as folder:
        torn = kill_and_look(Path(folder) / "releases", arguments.publisher, arguments.kills)
    sys.stdout.write(f"{arguments.publisher}: {torn} torn releases after {arguments.kills} kills\n")


if __name__ == "__main__":
    main()
