"""Shards are made one after another, in this process or by several, none of which outlives it.

Everybody is answered into a folder: what is missing of it is made, by processes side by side.
"""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import connection as pipes
from multiprocessing import get_context, parent_process
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

_USERS_PER_ROW_GROUP = 8_192  # of a row group, and held at once


class ShardTask(NamedTuple):
    """What every worker is told."""

    release: str  # one version's own folder
    out: str
    config: BatchConfig
    extra_users: Path | None
    shard_users: int


def make_shard(task: ShardTask, shard: int) -> int:
    """Make a shard and return its number."""
    answerer = open_recommender(task.release, task.config)
    table = _user_shards(answerer, task.extra_users, task.shard_users).table(shard)
    some = (table.slice(start, _USERS_PER_ROW_GROUP) for start in range(0, len(table), _USERS_PER_ROW_GROUP))
    write_shard(Path(task.out), shard, map(answerer.recommend, some), answerer.schema)
    return shard


def make_shards(task: ShardTask, shards: Sequence[int], processes: int) -> Iterator[int]:
    """Make shards, side by side where there are several processes, and yield each when it is made.

    Raises:
        MissingError: a worker was killed.
    """
    if processes == 1 or len(shards) < 2:
        for shard in shards:
            yield make_shard(task, shard)
        return
    with _single_threaded_workers(), _worker_pool(min(processes, len(shards))) as pool:
        left = {pool.submit(make_shard, task, shard) for shard in shards}
        try:
            while left:
                # A second at most: a longer wait may not hear Ctrl-C.
                ended, left = wait(left, timeout=1, return_when=FIRST_COMPLETED)
                yield from sorted(future.result() for future in ended)
        except BrokenProcessPool:
            raise MissingError(
                "a worker was killed, often for want of memory: fewer --processes leave each more; run the same command"
                " again, what is done is kept"
            ) from None


@lru_cache(maxsize=1)
def _user_shards(answerer: BatchRecommender, extra_users: Path | None, size: int) -> UserShards:
    return UserShards(answerer.release, extra_users, size)


@contextmanager
def _worker_pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Yield workers; whatever ends the block before they are done ends them at once."""
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
    """Let the libraries of processes that begin here use one thread: there is a process for each core."""
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
    """Leave Ctrl-C to the parent, and end when it ends, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=_exit_with_parent, args=(parent.sentinel,), daemon=True).start()


def _exit_with_parent(sentinel: int) -> None:
    pipes.wait([sentinel])
    os._exit(1)


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
    """Answer every user of a release into the folder ``out``; what is done there already is not done again.

    Args:
        release: folder of releases, or one version's own folder.
        out: the folder, as ``bulk.folder`` describes it.
        config: what everybody gets.
        extra_users: Parquet table of people beyond the release: user_id, history, followed_topics.
        shard_users: users of a file.
        processes: that answer side by side; 1: this one.
        overwrite: begin anew.
        progress: told how many users are done.

    Raises:
        UsageError: another process writes there, or something else was begun there.
        DataError: the table of people cannot be used.
        ArtefactError: the release, or a shard that was done before, is damaged.
        MissingError: a process was killed.
    """
    out, config = Path(out), config or BatchConfig()
    if shard_users < 1 or processes < 1:
        raise UsageError(f"shard_users = {shard_users}, processes = {processes}; expected at least 1 of each")
    opened = Release.open(release)
    users = UserShards(opened, extra_users, shard_users)
    begun = {
        "release": opened.version,
        "release_identity": opened.identity,
        **config.model_dump(mode="json"),
        **users.record(),
    }
    with results.lock_results(out, begun, overwrite=overwrite):
        if (out / results.MANIFEST).exists():
            return results.manifest_counts(results.verify_results(out))
        done = {shard: _existing_counts(out, shard, users) for shard in range(users.n_shards)}
        missing = [shard for shard, counts in done.items() if counts is None]
        task = ShardTask(str(opened.path), str(out), config, extra_users, shard_users)
        _collect_shards(make_shards(task, missing, processes), done, out, users, progress)
        results.write_manifest(out, _sum_counts(done), users.n_shards)
    return _sum_counts(done)


def _collect_shards(
    made: Iterator[int], done: dict[int, Counts | None], out: Path, users: UserShards, progress: Progress
) -> None:
    """Take note of each shard that is made."""
    progress(
        _sum_counts(done).users, len(users), f"{sum(counts is not None for counts in done.values())} shards were there"
    )
    for shard in made:
        done[shard] = results.shard_counts(out, shard, users.size(shard))
        progress(_sum_counts(done).users, len(users))


def _existing_counts(out: Path, shard: int, users: UserShards) -> Counts | None:
    """Return what a shard holds that is there already, or None."""
    exists = (out / results.shard_name(shard)).exists()
    return results.shard_counts(out, shard, users.size(shard)) if exists else None


def _sum_counts(done: dict[int, Counts | None]) -> Counts:
    return Counts(*(sum(column) for column in zip(Counts(0, 0, 0), *filter(None, done.values()), strict=True)))
