"""Batch recommendations for all users with twelve vectors each: users per second, and memory.

The world is that of the service's measurements: vectors of latent factors, 300 items seen by each user. The seconds are
all but the start of the interpreter: the release is opened (by two processes each for itself), the shards are written.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.child_process import run_in_child
from benchmarks.service.releases import STORE, world_folder
from benchmarks.service.world import Sizes
from benchmarks.timing import round_figure
from multitudes.batch_inference.recommender import BatchConfig
from multitudes.batch_inference.runner import recommend_all

N = 100
_SHARDS = 8  # so that two processes end together


def measure_all_users(items: int, users: int, work: Path) -> dict[str, Any]:
    """Return users per second of wall and CPU time, by one and by two processes, and peak memory."""
    releases = world_folder(Sizes(items=items, users=users), work) / "joint"
    given = {"releases": str(releases), "shard_users": -(-users // _SHARDS)}
    with TemporaryDirectory(dir=work) as out:  # a fresh folder: finished shards would not be repeated
        one, two = (
            run_in_child(answer_all, threads=1, out=str(Path(out) / str(processes)), processes=processes, **given)
            for processes in (1, 2)
        )
    return {
        "items": items,
        "users": users,
        "n": N,
        "vectors": 12,
        "users_per_s": round_figure(users / one.seconds),
        "users_per_cpu_s": round_figure(users / one.cpu_s),
        "two_processes": {
            "users_per_s": round_figure(users / two.seconds),
            "users_per_cpu_s": round_figure(users / two.cpu_s),
        },
        "peak_mib": round_figure(one.peak_mib),
        "out_mib": round_figure(one.value),
        "state_mib": round_figure((releases.parent / STORE).stat().st_size / 2**20),  # 100 events of each user
    }


def answer_all(releases: str, out: str, processes: int, shard_users: int) -> float:
    """Recommend to all users; return the size of the result in MiB."""
    recommend_all(releases, out, BatchConfig(n=N), processes=processes, shard_users=shard_users)
    return sum(file.stat().st_size for file in Path(out).iterdir()) / 2**20
