"""Recommend to all users of a release into a folder of results, in this process or with several workers."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import NamedTuple

from multitudes import threads
from multitudes.batch_inference import results
from multitudes.batch_inference.recommender import BatchConfig, BatchRecommender, open_recommender
from multitudes.batch_inference.results import Counts, write_shard
from multitudes.batch_inference.user_shards import UserShards
from multitudes.errors import MissingError, UsageError
from multitudes.progress import Progress, silent
from multitudes.release.release import Release

_USERS_PER_ROW_GROUP = 8_192  # in memory at once


def recommend_all(
    release: str | Path,
    out: str | Path,
    config: BatchConfig | None = None,
    *,
    extra_users: Path | None = None,
    shard_users: int = 10_000,
    processes: int = 1,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Counts:
    """Recommend to every user of a release, into a folder of results; shards that are complete are kept.

    Args:
        release: a folder of releases, or the folder of one version.
        out: the folder of results; see ``results``.
        config: settings of the recommendations.
        extra_users: Parquet table of more users, anonymous or not in the release: user_id, history, followed_topics.
        shard_users: number of users of a shard.
        processes: number of workers; with 1, this process does the work.
        overwrite: delete existing results.
        progress: called with the number of users that are done.

    Returns:
        The numbers of users, of candidates and of degraded answers.

    Raises:
        UsageError: another process writes there, or the folder has results with other settings.
        DataError: the table of users cannot be used.
        ArtefactError: the release or an existing shard is damaged.
        MissingError: a worker was killed.
    """
    out, config = Path(out), config or BatchConfig()
    if shard_users < 1 or processes < 1:
        raise UsageError(f"shard_users = {shard_users}, processes = {processes}; expected at least 1 of each")
    open_release = Release.open(release)
    users = UserShards(open_release, extra_users, shard_users)
    settings = {
        "release": open_release.version,
        "release_identity": open_release.identity,
        **config.model_dump(mode="json"),
        **users.record(),
    }
    with results.lock_results(out, settings, overwrite=overwrite):
        if (out / results.MANIFEST).exists():
            return results.manifest_counts(results.verify_results(out))
        counts = {shard: _existing_counts(out, shard, users) for shard in range(users.n_shards)}
        missing = [shard for shard, existing in counts.items() if existing is None]
        task = ShardTask(str(open_release.path), str(out), config, extra_users, shard_users)
        _collect_shards(write_shards(task, missing, processes), counts, out, users, progress)
        results.write_manifest(out, _sum_counts(counts), users.n_shards)
    return _sum_counts(counts)


def _existing_counts(out: Path, shard: int, users: UserShards) -> Counts | None:
    """Return the counts of a shard, or None if it does not exist."""
    exists = (out / results.shard_name(shard)).exists()
    return results.shard_counts(out, shard, users.size(shard)) if exists else None


def _collect_shards(
    written: Iterator[int], counts: dict[int, Counts | None], out: Path, users: UserShards, progress: Progress
) -> None:
    """Add the counts of each shard when it is written."""
    n_existing = sum(existing is not None for existing in counts.values())
    progress(_sum_counts(counts).users, len(users), f"{n_existing} shards exist")
    for shard in written:
        counts[shard] = results.shard_counts(out, shard, users.size(shard))
        progress(_sum_counts(counts).users, len(users))


def _sum_counts(counts: dict[int, Counts | None]) -> Counts:
    columns = zip(Counts(0, 0, 0), *filter(None, counts.values()), strict=True)
    return Counts(*(sum(column) for column in columns))


class ShardTask(NamedTuple):
    """The task of a worker."""

    release: str  # folder of one version
    out: str
    config: BatchConfig
    extra_users: Path | None
    shard_users: int


def write_shards(task: ShardTask, shards: Sequence[int], processes: int) -> Iterator[int]:
    """Write shards, with several workers if ``processes`` > 1, and yield the number of each when it is complete.

    Raises:
        MissingError: a worker was killed.
    """
    if processes == 1 or len(shards) < 2:
        for shard in shards:
            yield recommend_shard(task, shard)
        return
    with _single_threaded_workers(), _worker_pool(min(processes, len(shards))) as pool:
        pending = {pool.submit(recommend_shard, task, shard) for shard in shards}
        try:
            while pending:
                # At most a second: during a longer wait, Ctrl-C may not be noticed.
                done, pending = wait(pending, timeout=1, return_when=FIRST_COMPLETED)
                yield from sorted(future.result() for future in done)
        except BrokenProcessPool:
            raise MissingError(
                "a worker was killed, often because it ran out of memory; use fewer --processes and run the same"
                " command again: complete shards are kept"
            ) from None


def recommend_shard(task: ShardTask, shard: int) -> int:
    """Write one shard and return its number."""
    recommender = open_recommender(task.release, task.config)
    table = _user_shards(recommender, task.extra_users, task.shard_users).table(shard)
    batches = (table.slice(start, _USERS_PER_ROW_GROUP) for start in range(0, len(table), _USERS_PER_ROW_GROUP))
    write_shard(Path(task.out), shard, map(recommender.recommend, batches), recommender.schema)
    return shard


@lru_cache(maxsize=1)
def _user_shards(recommender: BatchRecommender, extra_users: Path | None, shard_users: int) -> UserShards:
    return UserShards(recommender.release, extra_users, shard_users)


@contextmanager
def _worker_pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of workers, which are terminated if the block ends with an error."""
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_initialise_worker)
    try:
        yield pool
    except BaseException:
        for worker in list((pool._processes or {}).values()):
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _single_threaded_workers() -> Iterator[None]:
    """Limit the libraries of workers that start in the block to one thread, because each core has a worker."""
    before = {name: os.environ.get(name) for name in threads.THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(threads.THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _initialise_worker() -> None:
    """Ignore Ctrl-C, which the parent handles, and exit when the parent exits for any reason."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=_exit_with_parent, args=(parent.sentinel,), daemon=True).start()


def _exit_with_parent(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
