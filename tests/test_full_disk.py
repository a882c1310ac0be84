"""A disk that is full, in each stage: one line, earlier outputs whole, nothing half-written, and then the same command.

A real one, of a few pages in memory; it is skipped where nothing may be mounted.
"""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import polars as pl
import pytest

from multitudes.cli.main import run
from multitudes.data.planted import write_world
from multitudes.errors import MissingError
from tests.worlds import SMALL_TOML, planted

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shared_exports")]

SETTINGS = SMALL_TOML.replace("epochs = 1", "epochs = 2") + "[execution]\ncheckpoint_steps = 3\n"


@cache
def made() -> Path:
    """What every stage begins with, on a disk that has room; events in two halves, an earlier and a later one."""
    folder = Path(mkdtemp(prefix="multitudes-test-"))
    write_world(planted()[0], folder / "data")
    (folder / "s.toml").write_text(SETTINGS)
    call = ["prepare", str(folder / "data"), "--out", str(folder / "prepared"), "--split", "user"]
    assert run([*call, "--appendable"]) == 0
    assert run(["train", str(folder / "prepared"), "--out", str(folder / "run"), "--config", f"{folder}/s.toml"]) == 0
    assert run(["publish", str(folder / "run"), "--to", str(folder / "releases")]) == 0
    assert run(["recommend", str(folder / "releases"), "--all", "--out", str(folder / "all")]) == 0
    later(folder)
    return folder


def later(folder: Path) -> None:
    """Write the tables of a later day."""
    (folder / "later").mkdir()
    for file in (folder / "data").glob("*.parquet"):
        table = pl.read_parquet(file)
        if "timestamp" in table.columns:
            table = table.with_columns(pl.col("timestamp") + 400 * 86_400)
        table.write_parquet(folder / "later" / file.name)


class Disk:
    """A file system in memory, at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self._mount("-t", "tmpfs", "-o", "size=64m", "tmpfs")

    def leave(self, kib: int) -> None:
        used = int(subprocess.run(["du", "-sk", self.path], check=True, capture_output=True).stdout.split()[0])
        self._mount("-o", f"remount,size={used + kib}k")

    def grow(self) -> None:
        self._mount("-o", "remount,size=64m")

    def remove(self) -> None:
        subprocess.run(["umount", self.path], check=True)

    def files(self) -> dict[str, bytes]:
        """Return what lies there, but for empty files: locks."""
        files = (file for file in self.path.rglob("*") if file.is_file())
        return {str(file.relative_to(self.path)): file.read_bytes() for file in files if file.stat().st_size}

    def _mount(self, *words: str) -> None:
        subprocess.run(["mount", *words, self.path], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    try:
        small = Disk(tmp_path / "disk")
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        pytest.skip(f"nothing may be mounted here: {said.decode().strip()}")
    try:
        yield small
    finally:
        small.remove()


# What a stage that can be gone on with leaves: each file is whole.
KEPT = re.compile(
    r"out/(run.json|metrics.jsonl|checkpoint/(state|best).safetensors|checkpoint/position.json"
    r"|batch.json|part-\d+.parquet)"
)
STAGES = {
    "synth": ("synth {disk}/out --events 30000", (8, 100)),
    "prepare": ("prepare {made}/data --out {disk}/out --split user", (8, 100)),
    "append": ("prepare {made}/later --out {disk}/out --split user --append {made}/prepared", (8, 200)),
    "train": ("train {made}/prepared --out {disk}/out --config {made}/s.toml", (4, 100, 240)),
    "publish": ("publish {made}/run --to {disk}/out", (8, 300)),
    "recommend": ("recommend {made}/releases --all --out {disk}/out --shard-users 30", (8, 40)),
    "export": ("recommend {made}/releases --all --out {made}/all --export {disk}/out.jsonl", (8, 100)),
    "flat": ("recommend {made}/releases --all --out {made}/all --export {disk}/out.parquet", (8, 20)),
    "evaluate": ("evaluate {disk}/run", (0, 4)),
}


@pytest.mark.parametrize(("stage", "room"), [(stage, room) for stage, (_, rooms) in STAGES.items() for room in rooms])
def test_a_full_disk_is_one_line_and_afterwards_the_same_command_works(
    stage: str, room: int, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    call = STAGES[stage][0].format(made=made(), disk=disk.path).split()
    if stage == "evaluate":
        subprocess.run(["cp", "-r", made() / "run", disk.path / "run"], check=True)
    before = disk.files()
    disk.leave(room)
    capsys.readouterr()
    assert run(call) == MissingError.exit_code
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("multitudes: ")]  # no progress
    (line,) = (line for line in said if not line.startswith("multitudes: warning"))
    written = {"export": "out.jsonl", "flat": "out.parquet", "evaluate": "run"}.get(stage, "out")
    assert line.startswith(f"multitudes: no space left on the disk (while writing {disk.path}/{written}")
    after = disk.files()
    assert {name: content for name, content in after.items() if name in before} == before
    assert not [name for name in set(after) - set(before) if not KEPT.fullmatch(name)], "nothing half-written"
    disk.grow()
    begun = stage == "train" and (disk.path / "out").exists()
    assert run([*call, "--resume"] if begun else call) == 0
    shards = {name: content for name, content in after.items() if name.endswith(".parquet")}
    assert {name: content for name, content in disk.files().items() if name in shards} == shards, "done stays done"
