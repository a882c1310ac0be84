"""Worker processes: their share of the cores, one line when they fail, and none that outlives the study."""

import json
import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from multitudes.errors import MissingError
from multitudes.study.worker_pool import WorkerPool
from multitudes.threads import available_cores

HEAD = "import json, os, pathlib, signal, sys, time\nfolder, job = pathlib.Path(sys.argv[1]), sys.stdin.readline()\n"
RESULT = "(folder / 'result-validation.json').write_text(json.dumps({'threads': os.environ['OMP_NUM_THREADS']}))"


def cell(folder):
    return SimpleNamespace(
        label="films joint seed 0", folder=lambda cells: cells / "abc", job=lambda split, _: {"is": split}
    )


def run(folder, program, processes=1):
    return WorkerPool(folder, processes, ("-c", HEAD + program)).run(cell(folder), "validation")


@pytest.mark.parametrize(
    ("chosen", "processes", "threads"), [(None, available_cores(), 1), (None, 1, available_cores()), ("7", 1, 7)]
)
def test_each_worker_gets_its_share_of_the_cores_unless_told_otherwise(
    chosen, processes, threads, tmp_path, monkeypatch
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if chosen:
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    assert run(tmp_path, RESULT, processes=processes) is None
    assert json.loads((tmp_path / "abc" / "result-validation.json").read_text()) == {"threads": str(threads)}


def test_a_failed_worker_and_a_full_disk_are_reported_in_one_line(tmp_path):
    assert run(tmp_path, "raise ValueError('no such luck')") == "ValueError: no such luck"
    assert run(tmp_path, "sys.exit(7)") == "ended with exit code 7 and no message"
    with pytest.raises(MissingError, match="no space left on its disk; then run the same command again"):
        run(tmp_path, "print('no space left on its disk', file=sys.stderr); sys.exit(5)")


def test_stopping_interrupts_a_worker_which_saves_its_work(tmp_path):
    program = (
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # as a cell does
        "try:\n    (folder / 'begun').touch(); time.sleep(60)\n"
        "except KeyboardInterrupt:\n    (folder / 'saved').touch()\n"
    )
    pool = WorkerPool(tmp_path, 1, ("-c", HEAD + program))

    def stop_once_it_runs():
        while not (tmp_path / "abc" / "begun").exists():
            time.sleep(0.01)
        pool.stop()

    stopping = threading.Thread(target=stop_once_it_runs)
    stopping.start()
    with pytest.raises(KeyboardInterrupt):
        pool.run(cell(tmp_path), "validation")
    stopping.join()
    assert (tmp_path / "abc" / "saved").exists()
    with pytest.raises(KeyboardInterrupt):  # no other worker starts
        pool.run(cell(tmp_path), "validation")


@pytest.mark.slow
def test_a_worker_exits_when_its_study_is_gone(tmp_path):
    program = (
        "import sys, time, pathlib; from multitudes.study import worker\n"
        "worker.compute_cell = lambda *_: (pathlib.Path(sys.argv[1], 'busy').touch(), time.sleep(60))\n"
        "sys.exit(worker.main(pathlib.Path(sys.argv[1])))"
    )
    call = [sys.executable, "-c", program, str(tmp_path / "abc")]
    child = subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=dict(os.environ))
    assert child.stdin is not None
    child.stdin.write(b"{}\n")
    child.stdin.flush()
    while not (tmp_path / "abc" / "busy").exists():
        assert child.poll() is None, "the worker runs as long as its study"
        time.sleep(0.02)
    child.stdin.close()
    assert child.wait(timeout=30) == 130


@pytest.mark.slow
def test_a_worker_reports_a_full_disk_in_one_line(tmp_path):
    program = (
        "import errno, pathlib, sys; from multitudes.study import worker\n"
        "def do(*_): raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "worker.compute_cell = do\n"
        "sys.exit(worker.main(pathlib.Path(sys.argv[1])))"
    )
    call = [sys.executable, "-c", program, str(tmp_path / "abc")]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stderr is not None
        child.stdin.write("{}\n")
        child.stdin.flush()
        assert child.stderr.read() == f"{tmp_path / 'abc'}: no space left on its disk; make room there\n"
    assert child.returncode == 5
