"""Two hosts that train one model lose each other: recovery, or one line within the timeout, never a hang."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from multitudes.errors import UnavailableError
from tests.cluster.ranks import checkpoint_step, same_weights, start_ranks, wait_for_ranks, write_world_and_settings

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

    def launch(self, host: int, folder: Path, out: str) -> subprocess.Popen[bytes]:
        """Start torchrun on a host; it ends with ``remove``, and what it and its rank say is added to their log."""
        call = ["train", str(folder / "prepared"), "--out", str(folder / out), "--config", str(folder / "small.toml")]
        place = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"10.77.0.1:{PORT}", "--rdzv-id", out]
        waits = f"is_host={str(host == 0).lower()},join_timeout=60,keep_alive_interval=1,read_timeout=15"
        nodes = ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "5", "--local-addr", f"10.77.0.{host + 1}"]
        launcher = ["-m", "torch.distributed.run", *nodes, *place, "--rdzv-conf", waits, "-m", "multitudes"]
        own = {"GLOO_SOCKET_IFNAME": "cable", "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        with (folder / f"{out}-{host}.log").open("a") as log:
            started = subprocess.Popen(
                ["ip", "netns", "exec", self.names[host], sys.executable, *launcher, *call, "--resume"],
                env=os.environ | own,
                stdout=log,
                stderr=log,
            )
        self.ranks.append(started)
        return started

    def kill(self, host: int) -> None:
        """Kill all that runs on a host, at once, as when its power is gone."""
        found = subprocess.run(["ip", "netns", "pids", self.names[host]], check=True, capture_output=True, text=True)
        for pid in found.stdout.split():
            os.kill(int(pid), signal.SIGKILL)

    def ended(self) -> list[int]:
        """Return the exit codes of the ranks, which must come to an end."""
        codes = [rank.wait(PATIENCE_S) for rank in self.ranks]
        self.ranks.clear()
        return codes

    def remove(self) -> None:
        for host in range(len(self.names)):  # ranks of a launcher too, which outlive it
            with contextlib.suppress(subprocess.CalledProcessError, ProcessLookupError):
                self.kill(host)
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
    write_world_and_settings(made, epochs=8)
    settings = made / "small.toml"
    settings.write_text(settings.read_text().replace("timeout_s = 120", f"timeout_s = {TIMEOUT_S}"))
    wait_for_ranks(start_ranks(made, "whole", ranks=2), made, "whole")
    return made


def cut_at(step: int, hosts: Hosts, run: Path) -> None:
    """Take the cable away when a checkpoint has reached a step."""
    end = time.monotonic() + PATIENCE_S
    while checkpoint_step(run) < step:
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
        assert line.startswith(f"multitudes: rank {host} of 2: another rank ended or does not respond")
        assert line.endswith("continue with --resume")
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


def killed_at(step: int, host: int, hosts: Hosts, folder: Path, out: str) -> list[subprocess.Popen[bytes]]:
    """Start torchrun on both hosts, and kill one of them when a checkpoint has reached a step; return the launchers."""
    both = [hosts.launch(one, folder, out) for one in range(2)]
    end = time.monotonic() + PATIENCE_S
    while checkpoint_step(folder / out) < step:
        assert all(launcher.poll() is None for launcher in both), "a launcher ended too early"
        assert time.monotonic() < end
        time.sleep(0.02)
    hosts.kill(host)
    both[host].wait(PATIENCE_S)
    return both


def test_a_host_that_is_killed_comes_back_with_a_launcher_of_its_own_and_the_run_goes_on(
    hosts: Hosts, folder: Path
) -> None:
    staying, _ = killed_at(12, 1, hosts, folder, "back")
    back = hosts.launch(1, folder, "back")
    assert [staying.wait(PATIENCE_S), back.wait(PATIENCE_S)] == [0, 0], (folder / "back-0.log").read_text()[-2000:]
    assert same_weights(folder, "whole", "back")


def test_without_the_host_that_lets_the_others_meet_the_launcher_ends_and_both_started_again_go_on(
    hosts: Hosts, folder: Path
) -> None:
    _, staying = killed_at(12, 0, hosts, folder, "meeting")
    assert staying.wait(PATIENCE_S) == 1
    assert "RendezvousConnectionError" in (folder / "meeting-1.log").read_text(), "torchrun's own words"
    both = [hosts.launch(host, folder, "meeting") for host in range(2)]
    assert [launcher.wait(PATIENCE_S) for launcher in both] == [0, 0]
    assert same_weights(folder, "whole", "meeting")


def test_a_host_that_is_cut_off_for_half_a_minute_joins_again_under_the_same_launchers(
    hosts: Hosts, folder: Path
) -> None:
    both = [hosts.launch(host, folder, "half") for host in range(2)]
    cut_at(12, hosts, folder / "half")
    time.sleep(30)
    hosts.cable("up")
    assert [launcher.wait(PATIENCE_S) for launcher in both] == [0, 0], (folder / "half-0.log").read_text()[-2000:]
    assert same_weights(folder, "whole", "half")
