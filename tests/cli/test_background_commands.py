"""Commands in a process of their own, beside another."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from multitudes.cli.background_commands import run_in_background
from multitudes.errors import MultitudesError


def test_commands_run_one_after_the_other_and_their_output_comes_back(tmp_path):
    with run_in_background(["init", str(tmp_path / "a b")], ["--version"]) as running:
        printed = running.wait()
    assert (tmp_path / "a b" / "multitudes.toml").exists()
    assert "a b" in printed
    assert printed.splitlines()[-1].startswith("multitudes")


def test_a_failing_command_ends_the_others_and_gives_its_line_and_exit_code(tmp_path):
    with (
        pytest.raises(MultitudesError, match="no-run") as failed,
        run_in_background(
            ["publish", str(tmp_path / "no-run"), "--to", str(tmp_path)], ["init", str(tmp_path / "new")]
        ) as one,
    ):
        one.wait()
    assert failed.value.exit_code == 4
    assert "\n" not in str(failed.value)
    assert not (tmp_path / "new").exists()


def test_a_block_that_fails_kills_what_runs_beside_it(monkeypatch):
    monkeypatch.setattr("multitudes.cli.background_commands._PROGRAM", "import time; time.sleep(600)")
    started = []
    real = subprocess.Popen

    def start(*arguments, **settings):
        started.append(real(*arguments, **settings))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(KeyboardInterrupt), run_in_background(["--version"]):
        raise KeyboardInterrupt
    assert started[0].poll() == -9


def test_it_ends_with_the_process_that_started_it(tmp_path):
    """The parent is killed while a command runs; what runs beside it would otherwise write ``new`` after a while."""
    started = tmp_path / "pid"
    program = f"""
import os, time
from pathlib import Path
from multitudes.cli import background_commands
background_commands._PROGRAM = background_commands._PROGRAM.replace("for arguments", "time.sleep(600)\\nfor arguments")
with background_commands.run_in_background(["--version"]) as one:
    Path({str(started)!r}).write_text(str(one._process.pid))
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    until = time.monotonic() + 60
    while is_running(int(started.read_text())) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_running(int(started.read_text()))


def is_running(pid: int) -> bool:
    """Return whether the process runs; an ended one may still wait for the system to take note."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
