"""Everybody answered from a release with twelve vectors a user: users per second, where it goes, and what it finds.

The world is that of the service's measurements: vectors of latent factors, 300 items seen by each user. The seconds are
all but the start of the interpreter: the release is opened (by two processes each for itself), the shards are written.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from benchmarks.child import in_child
from benchmarks.parts import Watched, watching
from benchmarks.service.releases import STORE, made
from benchmarks.service.world import Sizes
from benchmarks.timing import figure
from multitudes.batch_inference import columns, recommender
from multitudes.batch_inference.recommender import BatchConfig, BatchRecommender
from multitudes.batch_inference.runner import recommend_all
from multitudes.index.approximate import ApproximateIndex
from multitudes.index.exact import ExactIndex
from multitudes.index.inverted import InvertedLists
from multitudes.index.live import LiveIndex
from multitudes.retrieval import search
from multitudes.retrieval.catalogue import Catalogue, Normaliser
from multitudes.retrieval.interest_names import InterestNamer
from multitudes.retrieval.user_context import UserContextBuilder

N = 100
_SHARDS = 8  # so that two processes end together
_PARTS = (
    Watched("histories", UserContextBuilder, "known"),
    Watched("tower", recommender, "user_vectors"),
    Watched("codes", InvertedLists, "propose"),
    Watched("rest of the search", ApproximateIndex, "search"),
    Watched("normaliser", Normaliser, "log_sum"),
    Watched("blend", search, "_blend"),
    Watched("names and columns", InterestNamer, "names"),
    Watched("names and columns", columns, "candidates"),
)


def everybody(items: int, users: int, work: Path) -> dict[str, Any]:
    """Return users per second on both clocks, peak memory, and processor milliseconds of each part."""
    releases = made(Sizes(items=items, users=users), work) / "joint"
    shard_users = -(-users // _SHARDS)
    with TemporaryDirectory(dir=work) as out:  # in a folder that is kept, everybody would have been answered before
        whole, two = (
            in_child(
                all_of,
                threads=1,
                releases=str(releases),
                out=str(Path(out) / str(processes)),
                processes=processes,
                shard_users=shard_users,
            )
            for processes in (1, 2)
        )
    split = in_child(parts_of, threads=1, releases=str(releases))
    quiet = in_child(quietest, threads=1, releases=str(releases))
    alike = in_child(as_by_exact_search, threads=1, releases=str(releases))
    return {
        "items": items,
        "users": users,
        "n": N,
        "vectors": 12,
        "users_per_s": figure(users / whole.seconds),
        "users_per_cpu_s": figure(users / whole.cpu_s),
        "two_processes": {
            "users_per_s": figure(users / two.seconds),
            "users_per_cpu_s": figure(users / two.cpu_s),
        },
        "quietest_ms": figure(quiet.value),
        "as_exact": figure(alike.value),
        "peak_mib": figure(whole.peak_mib),
        "out_mib": figure(whole.value),
        "state_mib": figure((releases.parent / STORE).stat().st_size / 2**20),  # 100 events of each user
        "cpu_ms": split.value,
    }


def all_of(releases: str, out: str, processes: int, shard_users: int) -> float:
    """Answer everybody; return the size of the result in MiB."""
    recommend_all(releases, out, BatchConfig(n=N), processes=processes, shard_users=shard_users)
    return sum(file.stat().st_size for file in Path(out).iterdir()) / 2**20


def quietest(releases: str, users: int = 512, rounds: int = 12) -> float:
    """Return the processor milliseconds of a user in the least of several rounds: others at work make it more."""
    answerer = BatchRecommender(releases, BatchConfig(n=N))
    some = pa.table({"user_id": answerer.release.user_ids[:users].to_arrow()})
    answerer.recommend(some)
    taken_s = []
    for _ in range(rounds):
        began = time.process_time()
        answerer.recommend(some)
        taken_s.append(time.process_time() - began)
    return 1000 * min(taken_s) / len(some)


def as_by_exact_search(releases: str, users: int = 256) -> float:
    """Return the share of the lists that is in those of an exact index, which finds all and knows every sum."""
    answerer = BatchRecommender(releases, BatchConfig(n=N))
    index = answerer.release.index
    assert isinstance(index, LiveIndex)
    some = pa.table({"user_id": answerer.release.user_ids[:users].to_arrow()})
    found = _items(answerer.recommend(some))
    exact = ExactIndex.build(index.ids(), index.vectors(index.ids()), index.segment.topics())
    answerer.catalogue = Catalogue(LiveIndex(exact), answerer.release.item_count)
    wanted = _items(answerer.recommend(some))
    return float(np.mean([len(one & other) / len(other) for one, other in zip(found, wanted, strict=True)]))


def _items(answers: Any) -> list[set[Any]]:  # noqa: ANN401 (pyarrow has no types)
    return [{one["item_id"] for one in candidates} for candidates in answers["candidates"].to_pylist()]


def parts_of(releases: str, users: int = 512) -> dict[str, float]:
    """Return the processor milliseconds of a user, by part."""
    answerer = BatchRecommender(releases, BatchConfig(n=N))
    some = pa.table({"user_id": answerer.release.user_ids[:users].to_arrow()})
    answerer.recommend(some.slice(0, 8))
    with patch("time.perf_counter", time.process_time), watching(_PARTS) as stopwatch:
        began = time.process_time()
        answerer.recommend(some)
        total_s = time.process_time() - began
    shares = stopwatch.shares(total_s)
    return {part: figure(1000 * share * total_s / len(some)) for part, share in shares.items()}
