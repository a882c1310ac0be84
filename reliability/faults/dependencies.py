"""What the service depends on, and how each is harmed and mended; or a text, why not."""

import os
import resource
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.state.redis_server import PROGRAM, WHY_NOT, RedisServer

from multitudes.atomic import write_text
from reliability.faults.disk import SLOW_S as DISK_SLOW_S
from reliability.faults.disk import mount_disk
from reliability.faults.wire import SLOW_S, Wire
from reliability.requests_in_turn import wait_until

FAULTS = ("slow", "full", "gone", "wrong")
MOMENTS = ("start", "serving", "publish", "stop")
_LATE = f"each piece that it sends takes {SLOW_S} s more"
_CUT = "its connections end, and no new one is taken"
_TURNED = "a bit is turned in every byte that it sends"
_FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
_MILVUS = [name for name in ("milvus", "pymilvus") if find_spec(name) is None]
_HAS_DISK = find_spec("mfusepy") is not None and Path("/dev/fuse").exists() and os.geteuid() == 0
_NO_DISK = "" if _HAS_DISK else "a disk to be harmed needs root, FUSE and the package mfusepy"
# By dependency: why it cannot be tried here; and by fault: what is done, or why nothing is.
WHY_NOT_HERE = {
    "disk": _NO_DISK,
    "SQLite": _NO_DISK,
    "Redis": "" if PROGRAM else WHY_NOT,
    "Milvus": f"no package {_MILVUS[0]} (tests/milvus/requirements.txt)" if _MILVUS else "",
    "S3": "" if find_spec("moto") else "no package moto",
    "clock": "" if _FAKETIME.exists() else "no libfaketime (Debian: faketime)",
}
HOW: Mapping[str, Mapping[str, str]] = {
    "none": {"no fault": "the control"},
    "disk": {
        "slow": f"each open, read, write, rename and fsync takes {DISK_SLOW_S} s more",
        "full": "no space for any write",
        "gone": "each operation fails (EIO)",
        "wrong": "a bit is turned in every byte that is read",
    },
    "SQLite": {
        "slow": "the disk of its file is",
        "full": "the disk of its file is",
        "gone": "the disk of its file is",
        "wrong": "pages of its file are overwritten; mended: as they were",
    },
    "Redis": {
        "slow": _LATE,
        "full": "its memory is (`maxmemory`, noeviction)",
        "gone": "it is killed; mended: started again on its file",
        "wrong": _TURNED,
    },
    "Milvus": {
        "slow": _LATE,
        "full": "not tried: it stores in etcd and an object store, on disks that are not the service's",
        "gone": _CUT,
        "wrong": _TURNED,
    },
    "S3": {
        "slow": _LATE,
        "full": "not possible: nothing is written there",
        "gone": _CUT,
        "wrong": "the middle third of each table is zeros",
    },
    "clock": {
        "slow": "it runs at a tenth of its speed",
        "full": "not possible: a clock holds nothing",
        "gone": "it begins again in 1970, as without a battery",
        "wrong": "it is 100 days ahead",
    },
    "a second worker": {
        "slow": "it is stopped (SIGSTOP); mended: it goes on",
        "full": "it may open no file or connection more",
        "gone": "it is killed",
        "wrong": "not tried: answers of another release are sought by the trial `swaps`",
    },
}


milvus_server: Any = None  # all cells share one


@dataclass
class Surroundings:
    """What a service is started with; ``be`` harms the dependency, or mends it where the fault is empty."""

    place: Path
    be: Callable[[str], object] = lambda _: None
    felt: Callable[[], int] = lambda: -1  # how often a fault met somebody; -1: that is not counted
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None  # of releases and data, where it is not the place
    workers: int = 1
    pid: int = 0  # of the service
    publish: str = "publish {world}/run --to {folder}/releases"


@contextmanager
def none(place: Path) -> Iterator[Surroundings]:
    """Nothing that is harmed: the control."""
    yield Surroundings(place)


@contextmanager
def disk(place: Path) -> Iterator[Surroundings]:
    """Releases, logs and user states."""
    told, felt = place / "told", place / "told.felt"
    with mount_disk(place / "real", place / "disk", told):
        yield Surroundings(
            place,
            be=told.write_text,
            felt=lambda: felt.stat().st_size if felt.exists() else 0,
            folder=place / "disk",
        )


@contextmanager
def sqlite(place: Path) -> Iterator[Surroundings]:
    """User states alone."""
    with disk(place) as made:
        file, harm, felt, right = place / "disk" / "state.sqlite", made.be, made.felt, list[bytes]()

        def be(fault: str) -> None:
            harm("" if fault == "wrong" else fault)
            if fault == "wrong":
                made.felt = lambda: -1
                with sqlite3.connect(file) as store:
                    store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                right.append(file.read_bytes())
            for content in right:
                with file.open("r+b") as pages:
                    for start in range(8_192, len(content), 4_096):
                        pages.seek(start)
                        pages.write(b"\xaa" * 2_048 if fault else content[start : start + 2_048])

        made.be, made.felt, made.folder, made.settings = be, felt, place, {"state": {"store": str(file)}}
        yield made


@contextmanager
def redis(place: Path) -> Iterator[Surroundings]:
    """A server that writes down what it acknowledges."""
    from redis import Redis  # noqa: PLC0415 (an extra)

    server = RedisServer(place, durable=True).start()
    wire, client = Wire(server.port), Redis(port=server.port)

    def be(fault: str) -> None:
        if fault == "gone":
            server.kill()
            return
        assert server.process is not None
        if server.process.poll() is not None:
            server.start()
        client.config_set("maxmemory", int(fault == "full"))
        wire.be("" if fault == "full" else fault)

    settings = {"state": {"store": f"redis://127.0.0.1:{wire.port}"}}
    try:
        yield Surroundings(place, be, lambda: wire.felt or -1, settings)
    finally:
        server.kill()


@contextmanager
def milvus(place: Path) -> Iterator[Surroundings]:
    """A server that has the index."""
    wire = Wire(milvus_server.port)
    environment = {"MILVUS_URI": f"http://127.0.0.1:{wire.port}", "MILVUS_TOKEN": "root:Milvus"}
    options = f'uri = "{environment["MILVUS_URI"]}"\nalias = "{place.name.replace("-", "_")}"\n'
    (place / "index.toml").write_text(f'[index]\nkind = "milvus"\n[index.options]\n{options}')
    publish = Surroundings.publish + " --config {place}/index.toml"
    yield Surroundings(place, wire.be, lambda: wire.felt, environment=environment, publish=publish)


@contextmanager
def s3(place: Path) -> Iterator[Surroundings]:
    """An object store with the tables of the nightly job."""
    from tests.objects.store import Store  # noqa: PLC0415 (needs moto)

    store: Any = Store()  # type: ignore[no-untyped-call]
    wire = Wire(int(store.host.rpartition(":")[2]))

    def be(fault: str) -> None:
        wire.be("" if fault == "wrong" else fault)
        for file in (place.parent / "world" / "data").glob("*.parquet"):
            content = file.read_bytes()
            third = len(content) // 3
            damaged = content[:third] + bytes(third) + content[2 * third :]
            store.put(f"{place.name}/{file.name}", damaged if fault == "wrong" else content)

    be("")
    environment = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_EC2_METADATA_DISABLED": "true"}
    environment |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{wire.port}"}
    publish = f"prepare s3://shop/{place.name} --out {{place}}/prepared --split user --overwrite"
    try:
        yield Surroundings(place, be, lambda: wire.felt or -1, environment=environment, publish=publish)
    finally:
        store.stop()


@contextmanager
def clock(place: Path) -> Iterator[Surroundings]:
    """The time of day of the processes; the time that passes stays."""
    file, told = place / "time", {"": "+0", "slow": "+0 x0.1", "gone": "-20600d", "wrong": "+100d"}
    file.write_text("+0")
    environment = {"LD_PRELOAD": str(_FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1"}
    environment["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
    yield Surroundings(place, lambda fault: write_text(file, told[fault]), environment=environment)


@contextmanager
def a_second_worker(place: Path) -> Iterator[Surroundings]:
    """One of two processes that answer."""
    made, harmed = Surroundings(place, workers=2), [0]

    def workers() -> list[int]:
        """Return the processes that have opened the store of user states: they answer in a moment."""
        call = ["pgrep", "-P", str(made.pid), "-f", "spawn_main"]
        pids = subprocess.run(call, capture_output=True, text=True, check=False).stdout.split()
        files = {pid: Path(f"/proc/{pid}/fd").glob("*") for pid in pids}  # of a process that has ended: none
        return sorted(int(pid) for pid in pids if any(file.resolve().suffix == ".sqlite" for file in files[pid]))

    def be(fault: str) -> None:
        if fault:
            wait_until(lambda: len(workers()) == made.workers, 120)
            harmed[0] = workers()[-1]
        with suppress(ProcessLookupError):  # it was replaced
            if fault in {"full", ""}:
                files = len(list(Path(f"/proc/{harmed[0]}/fd").iterdir())) if fault else 4_096
                resource.prlimit(harmed[0], resource.RLIMIT_NOFILE, (files, 4_096))
            if fault != "full":
                os.kill(harmed[0], {"slow": signal.SIGSTOP, "gone": signal.SIGKILL, "": signal.SIGCONT}[fault])

    made.be = be
    yield made
