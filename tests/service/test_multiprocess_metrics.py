"""Several processes are one service to whoever measures it: nothing is lost with a process that is killed."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from multitudes.service import multiprocess_metrics

# Counts answers as told, then waits to be killed: what it counted must be there without its help.
COUNTING = """
import sys
from multitudes.service.metrics import Metrics
families = Metrics()
families.answers.labels("full").inc(int(sys.argv[1]))
families.request_seconds.labels("/v1/recommend").observe(0.003)
families.processes.set(1)
print("counted", flush=True)
sys.stdin.read()
"""


def counting(folder: Path, count: int) -> "subprocess.Popen[str]":
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    call = [sys.executable, "-c", COUNTING, str(count)]
    process = subprocess.Popen(call, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "counted\n"
    return process


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def figures(page: bytes) -> list[float | None]:
    """Return answers, requests up to 5 ms, and processes."""
    names = ('answers_total{degradation="full"}', 'request_seconds_bucket{le="0.005",route="/v1/recommend"}')
    return [sample(page.decode(), name) for name in (*names, "processes")]


def sample(page: str, name: str) -> float | None:
    found = re.search(rf"^multitudes_{re.escape(name)} (\S+)$", page, re.MULTILINE)
    return None if found is None else float(found[1])


def test_processes_are_added_up_and_those_that_died_keep_what_they_counted(tmp_path):
    first, second = counting(tmp_path, 5), counting(tmp_path, 7)
    try:
        assert figures(multiprocess_metrics.render(tmp_path)) == [12, 2, 2]
        kill(first)
        assert figures(multiprocess_metrics.render(tmp_path)) == [12, 2, 1]
        files = {file.name for file in tmp_path.glob("*.db")}
        assert not any(str(first.pid) in name for name in files), "its files are folded into one of each kind"
        third = counting(tmp_path, 1)
        assert figures(multiprocess_metrics.render(tmp_path)) == [13, 3, 2]
        kill(third)
    finally:
        kill(second)
    assert figures(multiprocess_metrics.render(tmp_path)) == [13, 3, None], "folded twice, counted once"
    assert {file.name for file in tmp_path.glob("*.db")} == {"counter_dead.db", "histogram_dead.db"}


def test_what_a_killed_service_left_goes_when_the_next_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = [f"multitudes-metrics-{number}-x" for number in (gone.pid, os.getpid())]
    for name in (*names, "multitudes-metrics-x", f"other-{gone.pid}-x"):
        (tmp_path / name).mkdir()
    with multiprocess_metrics.share_metrics():
        assert not (tmp_path / names[0]).exists()
        assert len(list(tmp_path.iterdir())) == 4, "those of others, and its own"
    assert {file.name for file in tmp_path.iterdir()} == {names[1], "multitudes-metrics-x", f"other-{gone.pid}-x"}


def test_alone_there_is_no_folder_and_within_the_block_there_is():
    assert multiprocess_metrics.shared_folder() is None
    with multiprocess_metrics.share_metrics():
        folder = multiprocess_metrics.shared_folder()
        assert folder is not None
        assert folder.is_dir()
    assert multiprocess_metrics.shared_folder() is None
    assert not folder.exists()
