"""Shards are made one after another, in this process or by several, none of which outlives it."""

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
from multitudes.bulk.answer import Answerer, BulkConfig, opened
from multitudes.bulk.folder import write_part
from multitudes.bulk.users import Users
from multitudes.errors import MissingError

_GROUP_USERS = 8_192  # of a row group, and held at once


class Task(NamedTuple):
    """What every worker is told."""

    release: str  # one version's own folder
    out: str
    config: BulkConfig
    more: Path | None
    shard_users: int


def make(task: Task, shard: int) -> int:
    """Make a shard and return its number."""
    answerer = opened(task.release, task.config)
    table = _users(answerer, task.more, task.shard_users).of(shard)
    some = (table.slice(start, _GROUP_USERS) for start in range(0, len(table), _GROUP_USERS))
    write_part(Path(task.out), shard, map(answerer.answer, some), answerer.schema)
    return shard


def each(task: Task, shards: Sequence[int], processes: int) -> Iterator[int]:
    """Make shards, side by side where there are several processes, and yield each when it is made.

    Raises:
        MissingError: a worker was killed.
    """
    if processes == 1 or len(shards) < 2:
        for shard in shards:
            yield make(task, shard)
        return
    with _one_thread_each(), _pool(min(processes, len(shards))) as pool:
        left = {pool.submit(make, task, shard) for shard in shards}
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
def _users(answerer: Answerer, more: Path | None, size: int) -> Users:
    return Users(answerer.release, more, size)


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Yield workers; whatever ends the block before they are done ends them at once."""
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin)
    try:
        yield pool
    except BaseException:
        for worker in list((pool._processes or {}).values()):
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let the libraries of processes that begin here use one thread: there is a process for each core."""
    before = {name: os.environ.get(name) for name in threads.SETTINGS}
    os.environ.update(dict.fromkeys(threads.SETTINGS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin() -> None:
    """Leave Ctrl-C to the parent, and end when it ends, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    pipes.wait([sentinel])
    os._exit(1)
