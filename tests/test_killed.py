"""Commands that write folders are killed at random moments: nothing half-written is seen, once more makes it whole."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multitudes.cli.main import run
from multitudes.seeding import generator
from tests.test_full_disk import made

pytestmark = pytest.mark.slow

MAIN = [sys.executable, "-c", "from multitudes.cli.main import main; main()"]
KILLS = 3
PATIENCE_S = 120
STAGES = {
    "synth": ("synth {out} --events 300000", ".out.partial"),
    "prepare": ("prepare {made}/data --out {out} --split user", ".out.partial"),
    "append": ("prepare {made}/later --out {out} --split user --append {made}/prepared", ".out.partial"),
    "recommend": ("recommend {made}/releases --all --out {out} --shard-users 10", "out/batch.json"),
}


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def killed(call: list[str], begun: Path, delay_s: float) -> bool:
    """Run a command and kill it a while after it has begun to write; return whether that came before its end."""
    with subprocess.Popen([*MAIN, *call], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + PATIENCE_S
        while process.poll() is None and not begun.exists() and time.monotonic() < end:
            time.sleep(0.002)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_command_leaves_nothing_half_written_and_works_again(stage: str, tmp_path: Path) -> None:
    text, begun = STAGES[stage]
    whole, random = tmp_path / "whole", generator(0, "kills", list(STAGES).index(stage))
    assert run(text.format(made=made(), out=whole).split()) == 0
    kills = 0
    for number in range(KILLS):
        place = tmp_path / str(number)
        place.mkdir()
        call = text.format(made=made(), out=place / "out").split()
        was_killed = killed(call, place / begun, float(random.random()) * 0.2 * number / KILLS)
        kills += was_killed
        if was_killed and stage != "recommend":
            assert not (place / "out").exists() or contents(place / "out") == contents(whole)
        if not (place / "out").exists() or stage == "recommend":
            assert run(call) == 0
        assert contents(place / "out") == contents(whole)
        assert [file.name for file in place.iterdir()] == ["out"]
    assert kills, "the control: some came before the end"
