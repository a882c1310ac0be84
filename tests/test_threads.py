"""The cores that a process may use are those of the machine, unless a container gives it fewer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from multitudes.threads import available_bytes, available_cores, chosen_threads, wait_passively

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "300000 100000"}, 3),
        ("0::/pods/one", {"pods/one/cpu.max": "max 100000", "pods/cpu.max": "200000 100000"}, 2),
        ("0::/pods/one", {"pods/other/cpu.max": "100000 100000"}, 16),
        ("0::/docker/abc", {"cpu.max": "200000 100000"}, 2),  # the container sees its own group as the root
        ("4:memory:/\n1:cpu,cpuacct:/a", {"cpu,cpuacct/a/cpu.cfs_quota_us": "250000"}, 16),
        ("1:cpu:/a", {"cpu/a/cpu.cfs_quota_us": "250000", "cpu/a/cpu.cfs_period_us": "100000"}, 2),
        ("1:cpu:/a", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, 16),
        ("0::/", {"cpu.max": "max 100000"}, 16),
        ("0::/", {"cpu.max": "what"}, 16),
        (None, {}, 16),
    ],
)
def test_the_quota_of_a_container_limits_the_cores(tmp_path, monkeypatch, groups, files, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    for name, text in {f"sys/fs/cgroup/{name}": text for name, text in files.items()}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    if groups is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(groups + "\n")
    assert available_cores(tmp_path) == expected


def test_this_process_has_at_least_one_core():
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(("chosen", "expected"), [("3", 3), ("4,2", 4), ("0", 16), ("many", 16), (None, 16)])
def test_as_many_threads_as_chosen_or_one_for_each_core(monkeypatch, chosen, expected):
    monkeypatch.setattr("multitudes.threads.available_cores", lambda: 16)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if chosen is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    assert chosen_threads() == expected


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, ("passive", "1000", "0")),
        ({"GOMP_SPINCOUNT": "7"}, ("passive", "7", "0")),
        ({"OMP_WAIT_POLICY": "active"}, ("active", None, None)),
    ],
)
def test_idle_threads_sleep_unless_the_user_chose_otherwise(monkeypatch, chosen, expected):
    monkeypatch.setattr(os, "environ", dict(chosen))
    wait_passively()
    assert tuple(map(os.environ.get, WAITING)) == expected


def test_training_from_python_lets_them_sleep_too():
    chosen = {name: value for name, value in os.environ.items() if name not in WAITING}
    code = "import os, multitudes; multitudes.train; print(os.environ['OMP_WAIT_POLICY'])"
    done = subprocess.run([sys.executable, "-c", code], env=chosen, capture_output=True, text=True, check=True)
    assert done.stdout == "passive\n"


def test_the_available_memory_is_that_of_the_system(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    3 kB\n")
    assert available_bytes(tmp_path) == 3072
