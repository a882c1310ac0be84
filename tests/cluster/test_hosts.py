"""Two hosts that train one model lose each other: recovery, or one line within the timeout, never a hang."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.killed_ranks import ended, same_weights, started, step_of, world

from multitudes.errors import UnavailableError

pytestmark = pytest.mark.slow

PATIENCE_S = 300  # far beyond any timeout of the ranks: only a hang needs as long
TIMEOUT_S = 10
PORT = 29_511  # of hosts that have nothing else


class Hosts:
    """Two network namespaces and the cable between them."""

    def __init__(self) -> None:
        self.names = [f"mt{os.getpid()}h{host}" for host in range(2)]
        self.ranks: list[subprocess.Popen[bytes]] = []

    def build(self) -> None:
        for name in self.names:
            ip("netns", "add", name)
        ip("link", "add", "cable", "netns", self.names[0], "type", "veth", "peer", "cable", "netns", self.names[1])
        for host, name in enumerate(self.names):
            ip("-n", name, "address", "add", f"10.77.0.{host + 1}/24", "dev", "cable")
            for device in ("lo", "cable"):
                ip("-n", name, "link", "set", device, "up")

    def cable(self, state: str) -> None:
        """Set the cable ``up`` or ``down``, at both ends."""
        for name in self.names:
            ip("-n", name, "link", "set", "cable", state)

    def train(self, folder: Path, out: str, *options: str) -> None:
        """Start a rank on each host; no launcher stands between it and its exit code."""
        call = ["train", str(folder / "prepared"), "--out", str(folder / out), "--config", str(folder / "small.toml")]
        place = {"MASTER_ADDR": "10.77.0.1", "MASTER_PORT": str(PORT), "GLOO_SOCKET_IFNAME": "cable"}
        for host, name in enumerate(self.names):
            with (folder / f"{out}-{host}.log").open("w") as log:
                self.ranks.append(
                    subprocess.Popen(
                        ["ip", "netns", "exec", name, sys.executable, "-m", "multitudes", *call, *options],
                        env=os.environ | place | {"RANK": str(host), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"},
                        stdout=log,
                        stderr=log,
                    )
                )

    def ended(self) -> list[int]:
        """Return the exit codes of the ranks, which must come to an end."""
        codes = [rank.wait(PATIENCE_S) for rank in self.ranks]
        self.ranks.clear()
        return codes

    def remove(self) -> None:
        for rank in self.ranks:
            rank.send_signal(signal.SIGKILL)
            rank.wait()
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    made = Hosts()
    try:
        try:
            made.build()
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", b"") or str(error).encode()
            pytest.skip(f"no network namespaces here: {said.decode().strip()}")
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world, settings with which ranks wait for each other a few seconds, and a run that nobody disturbed."""
    made: Path = tmp_path_factory.mktemp("hosts")
    world(made, epochs=8)
    settings = made / "small.toml"
    settings.write_text(settings.read_text().replace("timeout_s = 120", f"timeout_s = {TIMEOUT_S}"))
    ended(started(made, "whole", ranks=2), made, "whole")
    return made


def cut_at(step: int, hosts: Hosts, run: Path) -> None:
    """Take the cable away when a checkpoint has reached a step."""
    end = time.monotonic() + PATIENCE_S
    while step_of(run) < step:
        assert all(rank.poll() is None for rank in hosts.ranks), "a rank ended too early"
        assert time.monotonic() < end
        time.sleep(0.02)
    hosts.cable("down")


def test_a_host_that_is_cut_off_ends_both_with_one_line_and_the_run_goes_on_when_it_is_back(
    hosts: Hosts, folder: Path
) -> None:
    hosts.train(folder, "cut")
    cut_at(12, hosts, folder / "cut")
    assert hosts.ended() == [UnavailableError.exit_code] * 2
    for host in range(2):
        text = (folder / f"cut-{host}.log").read_text()
        (line,) = (line for line in text.splitlines() if line.startswith("multitudes:"))
        assert line.startswith(f"multitudes: rank {host} of 2: another rank ended or does not answer")
        assert line.endswith("go on with --resume")
        assert "frame #0" not in text
    hosts.cable("up")
    hosts.train(folder, "cut", "--resume")
    assert hosts.ended() == [0, 0]
    assert same_weights(folder, "whole", "cut")


def test_a_host_that_is_back_before_the_timeout_is_waited_for(hosts: Hosts, folder: Path) -> None:
    hosts.train(folder, "short")
    cut_at(12, hosts, folder / "short")
    time.sleep(1)
    hosts.cable("up")
    assert hosts.ended() == [0, 0], (folder / "short-0.log").read_text()
    assert same_weights(folder, "whole", "short")
