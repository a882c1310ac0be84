"""A worker that is killed while it prepares costs time and nothing else."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pyspark = pytest.importorskip("pyspark", reason="needs pyspark: make test-cluster")

from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.errors import UnavailableError
from multitudes_spark.session import SparkConfig
from tests.cluster.conftest import QUICK
from tests.cluster.engines import by
from tests.cluster.hostile import differing, write_hostile
from tests.data.tables import NOW

HOME = Path(pyspark.__file__).parent
PATIENCE_S = 120


class Cluster:
    """A master and workers of Spark's own, on loopback; ended by their process ids."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.uri = ""

    def start(self, workers: int) -> "Cluster":
        self._run(
            "master", "org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0"
        )
        self.uri = self._said("master", "Starting Spark master at ").split()[0]
        for number in range(workers):
            self._run(
                f"worker-{number}",
                "org.apache.spark.deploy.worker.Worker",
                "--webui-port",
                "0",
                "--cores",
                "1",
                "--memory",
                "1g",
                "--work-dir",
                str(self.folder / f"work-{number}"),
                "--host",
                "127.0.0.1",
                self.uri,
            )
        for number in range(workers):
            self._said(f"worker-{number}", "Successfully registered with master")
        return self

    def kill(self, worker: int) -> None:
        """Kill a worker and what it runs, as a power cut would."""
        os.killpg(self.processes[1 + worker].pid, signal.SIGKILL)

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _run(self, name: str, *call: str) -> None:
        settings = {"SPARK_HOME": str(HOME), "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
        with (self.folder / f"{name}.log").open("w") as log:
            self.processes.append(
                subprocess.Popen(
                    [str(HOME / "bin" / "spark-class"), *call],
                    stdout=log,
                    stderr=log,
                    env=os.environ | settings,
                    start_new_session=True,
                )
            )

    def _said(self, name: str, words: str) -> str:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            said = (self.folder / f"{name}.log").read_text()
            if words in said:
                return said.split(words)[1]
            time.sleep(0.2)
        raise AssertionError(f"{name} did not say '{words}'")


@pytest.fixture
def cluster(tmp_path):
    (tmp_path / "cluster").mkdir()
    started = Cluster(tmp_path / "cluster")
    try:
        yield started.start(2)
    finally:
        started.stop()


def test_a_worker_killed_while_it_prepares_changes_no_byte(tmp_path, cluster):
    data = write_hostile(tmp_path / "data")
    config = PrepareConfig(split="user", ties="shuffle", threads=1)
    prepare(data, tmp_path / "duckdb", config, now=NOW)
    spark = SparkConfig(
        master=cluster.uri,
        memory="512m",
        conf=QUICK
        | {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.executor.cores": "1"},
    )
    killed: list[int] = []

    def kill_when_ordering(done, total, note=""):
        if done >= 5 and not killed:  # the sound tables stand, on both workers
            cluster.kill(0)
            killed.append(threading.get_ident())

    prepare(data, tmp_path / "spark", config, kill_when_ordering, now=NOW, engine=by(spark))
    assert killed
    assert cluster.processes[1].wait(PATIENCE_S) == -signal.SIGKILL
    assert differing(tmp_path / "duckdb", tmp_path / "spark") == []


def test_a_cluster_that_is_not_there_is_said_in_one_line(tmp_path):
    data = write_hostile(tmp_path / "data")
    spark = SparkConfig(master="spark://127.0.0.1:1", conf={"spark.driver.host": "127.0.0.1"})
    with pytest.raises(UnavailableError, match=r"spark://127\.0\.0\.1:1") as said:
        prepare(data, tmp_path / "out", now=NOW, engine=by(spark))
    assert "\n" not in str(said.value)
    assert not (tmp_path / "out").exists()
