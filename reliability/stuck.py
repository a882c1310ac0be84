"""D7 and D8: releases that never answer or ask for all memory; the one before serves on, and the next is taken up.

One has a tower with an endless loop, one a pipe in place of a file, one a table that claims a billion rows. A good
release is published after each. The service has 8 GB of addresses; what it does beyond ends it.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
from tests.release.small_release import endless_loop, put_before_vectors

from multitudes.progress import Progress
from multitudes.release.release import USER_TOWER
from reliability.claims import TrialResult, at_most
from reliability.codes import BEFORE, Code, both
from reliability.requests_in_turn import ask
from reliability.server import Server
from reliability.world import World

_WORLD, _TRIAL_S, _ADDRESSES = World(items=200, users=20), 10.0, 8 << 30
_PATIENCE_S, _END_S, _POLL_S = 60.0, 30.0, 0.2
_PIPE, _ROWS, _PIECE = "manifest.json", 1_000_000_000, 10_000_000


def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
    """Publish each, then a good one, and end the service."""
    del scale  # it is the same at every scale
    kinds: dict[str, Callable[[Path], None]] = {
        "an endless loop": _loop,
        "a pipe": _pipe,
        "a billion rows": _claim_rows,
    }

    def attack(code: Code) -> dict[str, Any]:
        codes = [Code(code.root, code.folder / str(number), code.is_now) for number in range(len(kinds))]
        with ThreadPoolExecutor() as threads:  # most of the time they wait
            return dict(zip(kinds, threads.map(_publish_harm, codes, kinds.values()), strict=True))

    now, before = both(folder, attack, progress)
    return TrialResult(
        [
            at_most(0, f"{what}, of 3", _count(now, key), BEFORE, _count(before, key))
            for what, key in (
                ("services that do not take up the next release", "stuck"),
                ("services that die, or do not end on SIGTERM", "dead"),
            )
        ],
        {"now": now, "before": before},
    )


def _count(found: dict[str, Any], key: str) -> int:
    return sum(one[key] for one in found.values())


def _publish_harm(code: Code, harm: Callable[[Path], None]) -> dict[str, Any]:
    code.folder.mkdir()
    code.publish(_WORLD)
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({_ADDRESSES}, {_ADDRESSES}))"
    with code.serving({"releases": {"trial_s": _TRIAL_S}}, before=limited) as server:
        code.run(_SWITCH, code.releases, _harmful(code, harm))
        time.sleep(_TRIAL_S / 2)
        code.publish(_WORLD, 2)
        stuck = not _is_taken_up(server, "0003")
        died = server.process.poll() is not None
        try:
            server.process.send_signal(signal.SIGTERM)
            hangs = server.process.wait(_END_S) != 0
        except (subprocess.TimeoutExpired, ProcessLookupError):
            hangs = True
    return {"stuck": stuck, "dead": died or hangs}


_SWITCH = """
import sys
from multitudes.release.store import ReleaseStore
ReleaseStore(sys.argv[1]).rollback(to=sys.argv[2])
"""


def _harmful(code: Code, harm: Callable[[Path], None]) -> str:
    """Put a harmful release beside the one that serves, and return its version."""
    made = Code(code.root, code.folder / "harmful", code.is_now).publish(_WORLD, 1)
    harm(made)
    if not (made / _PIPE).is_fifo():  # which has no checksum
        code.sign(made)
    shutil.move(made, code.releases / "versions" / "0002")
    return "0002"


def _is_taken_up(server: Server, version: str) -> bool:
    """Return whether the service takes up a release in time."""
    end_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end_s and server.process.poll() is None:
        with suppress(URLError, TimeoutError, ConnectionError):
            answer = ask(server, "POST", "/v1/recommend", {"user_id": 1}, patience_s=5)
            if answer.status == 200 and answer.record["release"] == version:
                return True
        time.sleep(_POLL_S)
    return False


def _loop(release: Path) -> None:
    """Put an endless loop behind the tower's vectors."""
    tower = onnx.load(str(release / USER_TOWER))
    put_before_vectors(tower, endless_loop(), constants={"always": np.array(True)})
    onnx.save(tower, str(release / USER_TOWER))


def _pipe(release: Path) -> None:
    (release / _PIPE).unlink()
    os.mkfifo(release / _PIPE)


def _claim_rows(release: Path) -> None:
    """Write a small file of many equal rows in place of the users."""
    table = pa.table({"user_id": pa.array(np.ones(_PIECE, dtype=np.int64))})
    file, packed = release / "users.arrow", pa.ipc.IpcWriteOptions(compression="zstd")
    if file.exists():
        writer: Any = pa.ipc.new_file(file, table.schema, options=packed)
    else:  # the code before
        writer = pq.ParquetWriter(release / "users.parquet", table.schema)
    with writer:
        for _ in range(_ROWS // _PIECE):
            writer.write_table(table)
