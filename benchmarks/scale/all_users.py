"""Batch recommendations for all users with twelve vectors each: users per second, shares of time, and recall.

The world is that of the service's measurements: vectors of latent factors, 300 items seen by each user. The seconds are
all but the start of the interpreter: the release is opened (by two processes each for itself), the shards are written.
"""

import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from benchmarks.child_process import run_in_child
from benchmarks.profiling import TimedFunction, profile
from benchmarks.service.releases import STORE, world_folder
from benchmarks.service.world import Sizes
from benchmarks.timing import round_figure
from multitudes.batch_inference import columns, recommender
from multitudes.batch_inference.recommender import BatchConfig, BatchRecommender
from multitudes.batch_inference.runner import recommend_all
from multitudes.index.exact import ExactIndex
from multitudes.index.live import LiveIndex
from multitudes.release.release import Release
from multitudes.retrieval import blend, search
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.interest_names import InterestNamer
from multitudes.retrieval.user_context import UserContextBuilder

N = 100
_SHARDS = 8  # so that two processes end together
_PARTS = (
    TimedFunction("histories", UserContextBuilder, "from_release"),
    TimedFunction("tower", recommender, "user_vectors"),
    TimedFunction("search", LiveIndex, "search"),
    TimedFunction("blend", blend, "merge_lists"),
    TimedFunction("calibration", recommender, "with_tastes"),
    TimedFunction("calibration", search, "_calibrate"),
    TimedFunction("who found them", search, "_found_by"),
    TimedFunction("names and columns", InterestNamer, "name_all"),
    TimedFunction("names and columns", columns, "candidate_column"),
)


def measure_all_users(items: int, users: int, work: Path) -> dict[str, Any]:
    """Return users per second of wall and CPU time, peak memory, and CPU milliseconds of each part."""
    releases = world_folder(Sizes(items=items, users=users), work) / "joint"
    shard_users = -(-users // _SHARDS)
    with TemporaryDirectory(dir=work) as out:  # a fresh folder: finished shards would not be repeated
        whole, two = (
            run_in_child(
                answer_all,
                threads=1,
                releases=str(releases),
                out=str(Path(out) / str(processes)),
                processes=processes,
                shard_users=shard_users,
            )
            for processes in (1, 2)
        )
        spark = _by_spark(releases, Path(out) / "spark", users)
    split = run_in_child(cpu_ms_by_part, threads=1, releases=str(releases))
    quiet = run_in_child(least_cpu_ms, threads=1, releases=str(releases))
    alike = run_in_child(overlap_with_exact, threads=1, releases=str(releases))
    return {
        "items": items,
        "users": users,
        "n": N,
        "vectors": 12,
        "users_per_s": round_figure(users / whole.seconds),
        "users_per_cpu_s": round_figure(users / whole.cpu_s),
        "two_processes": {
            "users_per_s": round_figure(users / two.seconds),
            "users_per_cpu_s": round_figure(users / two.cpu_s),
        },
        "spark": spark,
        "quietest_ms": round_figure(quiet.value),
        "as_exact": round_figure(alike.value),
        "peak_mib": round_figure(whole.peak_mib),
        "out_mib": round_figure(whole.value),
        "state_mib": round_figure((releases.parent / STORE).stat().st_size / 2**20),  # 100 events of each user
        "cpu_ms": split.value,
    }


def answer_all(releases: str, out: str, processes: int, shard_users: int) -> float:
    """Recommend to all users; return the size of the result in MiB."""
    recommend_all(releases, out, BatchConfig(n=N), processes=processes, shard_users=shard_users)
    return sum(file.stat().st_size for file in Path(out).iterdir()) / 2**20


def _by_spark(releases: Path, out: Path, users: int) -> dict[str, Any] | None:
    """Return the users a second of two Python workers of Spark; None: pyspark is not installed."""
    if find_spec("pyspark") is None:
        return None
    timed = run_in_child(answer_with_spark, threads=1, releases=str(releases), out=str(out))
    return {"users_per_s": round_figure(users / timed.value)}


def answer_with_spark(releases: str, out: str) -> float:
    """Recommend to all users with two cores of Spark; return the seconds of the job, without the start of Spark."""
    from pyspark.sql import SparkSession  # noqa: PLC0415 (an extra)

    from multitudes_spark import recommend  # noqa: PLC0415

    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder: Any = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    for address in ("bindAddress", "host"):
        builder = builder.config(f"spark.driver.{address}", "127.0.0.1")
    session = builder.getOrCreate()
    try:
        user_ids = Release.open(releases).user_ids.to_list()
        frame = session.createDataFrame([(user_id,) for user_id in user_ids], "user_id BIGINT").repartition(_SHARDS)
        frame.cache().count()
        began = time.perf_counter()
        recommend(frame, releases, BatchConfig(n=N)).write.parquet(out)
        return time.perf_counter() - began
    finally:
        session.stop()


def least_cpu_ms(releases: str, users: int = 512, rounds: int = 12) -> float:
    """Return the CPU milliseconds per user of the fastest of several rounds: other load makes it slower."""
    answerer = BatchRecommender(releases, BatchConfig(n=N))
    some = pa.table({"user_id": answerer.release.user_ids[:users].to_arrow()})
    answerer.recommend(some)
    taken_s = []
    for _ in range(rounds):
        began = time.process_time()
        answerer.recommend(some)
        taken_s.append(time.process_time() - began)
    return 1000 * min(taken_s) / len(some)


def overlap_with_exact(releases: str, users: int = 256) -> float:
    """Return the share of the candidates that an exact index finds too."""
    answerer = BatchRecommender(releases, BatchConfig(n=N))
    index = answerer.release.index
    assert isinstance(index, LiveIndex)
    some = pa.table({"user_id": answerer.release.user_ids[:users].to_arrow()})
    found = _items(answerer.recommend(some))
    exact = ExactIndex.build(index.ids(), index.vectors(index.ids()), index.segment.topics())
    release = answerer.release
    answerer.catalogue = Catalogue(LiveIndex(exact), release.item_count, release.item_taste)
    wanted = _items(answerer.recommend(some))
    return float(np.mean([len(one & other) / len(other) for one, other in zip(found, wanted, strict=True)]))


def _items(answers: Any) -> list[set[Any]]:  # noqa: ANN401 (pyarrow has no types)
    return [{one["item_id"] for one in candidates} for candidates in answers["candidates"].to_pylist()]


def cpu_ms_by_part(releases: str, users: int = 512) -> dict[str, float]:
    """Return the CPU milliseconds per user, by part."""
    answerer = BatchRecommender(releases, BatchConfig(n=N))
    some = pa.table({"user_id": answerer.release.user_ids[:users].to_arrow()})
    answerer.recommend(some.slice(0, 8))
    with patch("time.perf_counter", time.process_time), profile(_PARTS) as stopwatch:
        began = time.process_time()
        answerer.recommend(some)
        total_s = time.process_time() - began
    shares = stopwatch.shares(total_s)
    return {part: round_figure(1000 * share * total_s / len(some)) for part, share in shares.items()}
