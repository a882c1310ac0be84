"""Everybody answered from a release with twelve vectors a user, by one process: users per second, and where it goes.

The world is that of the service's measurements: vectors of latent factors, 300 items seen by each user.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pyarrow as pa

from benchmarks.child import in_child
from benchmarks.parts import Watched, watching
from benchmarks.service.releases import STORE, made
from benchmarks.service.world import Sizes
from benchmarks.timing import figure
from multitudes.bulk import answer, columns
from multitudes.bulk.answer import Answerer, BulkConfig
from multitudes.bulk.run import recommend_all
from multitudes.index.inverted import Lists
from multitudes.index.tuned import Tuned
from multitudes.retrieve import find
from multitudes.retrieve.names import Vocabulary
from multitudes.retrieve.normaliser import Normaliser
from multitudes.retrieve.people import People

N = 100
_PARTS = (
    Watched("histories", People, "known"),
    Watched("tower", answer, "user_vectors"),
    Watched("codes", Lists, "propose"),
    Watched("rest of the search", Tuned, "search"),
    Watched("normaliser", Normaliser, "log_sum"),
    Watched("blend", find, "_blend"),
    Watched("names and columns", Vocabulary, "names"),
    Watched("names and columns", columns, "candidates"),
)


def everybody(items: int, users: int, work: Path) -> dict[str, Any]:
    """Return users per second on both clocks, peak memory, and processor milliseconds of each part."""
    releases = made(Sizes(items=items, users=users), work) / "joint"
    with TemporaryDirectory(dir=work) as out:  # in a folder that is kept, everybody would have been answered before
        whole = in_child(all_of, threads=1, releases=str(releases), out=str(Path(out) / "everybody"))
    split = in_child(parts_of, threads=1, releases=str(releases))
    return {
        "items": items,
        "users": users,
        "n": N,
        "vectors": 12,
        "users_per_s": figure(users / whole.seconds),
        "users_per_cpu_s": figure(users / whole.cpu_s),
        "peak_mib": figure(whole.peak_mib),
        "out_mib": figure(whole.value),
        "state_mib": figure((releases.parent / STORE).stat().st_size / 2**20),  # 100 events of each user
        "cpu_ms": split.value,
    }


def all_of(releases: str, out: str) -> float:
    """Answer everybody; return the size of the result in MiB."""
    recommend_all(releases, out, BulkConfig(n=N))
    return sum(file.stat().st_size for file in Path(out).iterdir()) / 2**20


def parts_of(releases: str, users: int = 512) -> dict[str, float]:
    """Return the processor milliseconds of a user, by part."""
    answerer = Answerer(releases, BulkConfig(n=N))
    some = pa.table({"user_id": answerer.release.user_ids[:users].to_arrow()})
    answerer.answer(some.slice(0, 8))
    with patch("time.perf_counter", time.process_time), watching(_PARTS) as stopwatch:
        began = time.process_time()
        answerer.answer(some)
        total_s = time.process_time() - began
    shares = stopwatch.shares(total_s)
    return {part: figure(1000 * share * total_s / len(some)) for part, share in shares.items()}
