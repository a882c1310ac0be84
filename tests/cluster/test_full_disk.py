"""A disk that is full while it prepares: one line, nothing half-written, and what stood there before still stands.

The disk is a small one in memory, which a process of its own sees alone.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pyspark", reason="needs pyspark: make test-cluster")

from multitudes.data.prepare import PrepareConfig, prepare
from tests.cluster.conftest import QUICK
from tests.cluster.hostile import differing, write_hostile
from tests.data.tables import NOW

_MOUNTED = 'mount -t tmpfs -o size="$1" none "$2" && shift 2 && "$@"; code=$?; ls -A "$0" >&3; exit $code'


def on_small_disk(disk: Path, size: str, *command: str) -> tuple[int, str, list[str]]:
    """Run a command that sees a disk of ``size`` at ``disk``; return its exit code, its errors, and what it left."""
    left = disk.with_name("left")
    with left.open("w") as file:
        alone = ["unshare", "--map-root-user", "--mount", "bash", "-c", _MOUNTED.replace(">&3", f">&{file.fileno()}")]
        done = subprocess.run(
            [*alone, str(disk), size, str(disk), *command],
            capture_output=True,
            text=True,
            check=False,
            pass_fds=(file.fileno(),),
        )
    return done.returncode, done.stderr, left.read_text().split()


@pytest.fixture
def disk(tmp_path):
    """Return a folder at which a small disk can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("unshare") is None or on_small_disk(folder, "64k", "true")[0]:
        pytest.skip("no file system can be mounted here, not even for one process")
    return folder


def settings(folder: Path, scratch: Path | None = None) -> Path:
    lines = ["[engine.options]", 'master = "local[1]"', 'memory = "1g"']
    lines += [f"scratch = {json.dumps(str(scratch))}"] if scratch else []
    lines += ["[engine.options.conf]", *(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in QUICK.items())]
    file = folder / "config.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


def prepare_command(data: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "multitudes", "prepare", str(data), "--out", str(out), *options]


# Too small for the log of its start, and for the first tables.
@pytest.mark.parametrize("size", ["4k", "100k"])
def test_spark_without_room_in_its_scratch_says_so_and_leaves_what_was_there(tmp_path, disk, size):
    data, out = write_hostile(tmp_path / "data"), tmp_path / "out"
    prepare(data, out, PrepareConfig(threads=1), now=NOW)
    prepare(data, tmp_path / "before", PrepareConfig(threads=1), now=NOW)
    options = ("--engine", "spark", "--overwrite", "--config", str(settings(tmp_path, disk)))
    code, said, left = on_small_disk(disk, size, *prepare_command(data, out, *options))
    assert code == 5
    assert said.strip().splitlines()[-1].startswith("multitudes: no space left on the disk; free some")
    assert "Traceback" not in said
    assert left == []
    assert differing(tmp_path / "before", out) == []
    assert not list(tmp_path.glob(".out*"))
