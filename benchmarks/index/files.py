"""An index as it is built, saved and opened: seconds, and memory by what it holds. Each in a process of its own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.index.world import DEPTH, World
from benchmarks.process import resident_mib
from benchmarks.timing import print_progress, round_figure, time_calls, wall_and_cpu_ms
from multitudes.index import files
from multitudes.index.factory import IndexConfig, build_index, load_index

_LOADS = 11
# On a busy machine a server takes long; what is measured is how long, not whether it is in time.
_SERVER = {"alias": "benchmark", "timeout_s": 60.0}


def build(world: str, index: str, engine: str, uri: str | None = None) -> dict[str, Any]:
    """Build, tune and save an index; its seconds, its size, and what it says of itself. ``uri``: of a server."""
    opened, folder = World.open(Path(world)), Path(index)
    began, cpu_began = time.perf_counter(), time.process_time()
    live = build_index(
        opened.ids(),
        opened.item_nD,
        IndexConfig(kind=engine, options={} if uri is None else {"uri": uri} | _SERVER),
        topics=opened.topics(),
        queries=opened.tuning_QD,
        progress=print_progress(engine),
    )
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    folder.mkdir(parents=True, exist_ok=True)
    saved = time_calls(lambda: live.save(folder), 1)
    return {
        "seconds": round_figure(seconds),
        "cpu_s": round_figure(cpu_s),
        "save_s": round_figure(saved.wall[0]),
        "mib": {file.name: round_figure(file.stat().st_size / 2**20) for file in sorted(folder.iterdir())},
        "info": live.info(),
    }


def measure_opening(world: str, index: str, users: int) -> dict[str, Any]:
    """Open an index, with its checksums verified and without, and answer: milliseconds, and memory as it grows."""
    folder, before = Path(index), resident_mib()
    with _skip_verification():
        live = load_index(folder)
        opened = resident_mib()
        bare = time_calls(lambda: load_index(folder), _LOADS)
    verified = time_calls(lambda: load_index(folder), _LOADS)
    user_BKD = World.open(Path(world)).user_BKD[:users]
    asked_before = resident_mib()
    for vectors_KD in user_BKD:
        live.search(vectors_KD, DEPTH)
    answered = resident_mib()
    return {
        "ms": wall_and_cpu_ms(bare),
        "verified_ms": wall_and_cpu_ms(verified),
        "opened_mib": _growth(before, opened),
        "answered_mib": _growth(asked_before, answered),
        "requests": len(user_BKD),
    }


def _growth(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: round_figure(after[name] - before[name]) for name in before}


@contextmanager
def _skip_verification() -> Iterator[None]:
    """Open without reading every file to its end, as the library never does."""
    verify = files.verify
    files.verify = _accept
    try:
        yield
    finally:
        files.verify = verify


def _accept(file: Path, xxh3: str, size: int, repair: str = "") -> None:
    del file, xxh3, size, repair
