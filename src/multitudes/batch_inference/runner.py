"""Recommend to all users of a release into a folder of results, in this process or with several workers."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache, partial
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from multitudes import threads
from multitudes.batch_inference import results
from multitudes.batch_inference.columns import check_users, find_duplicate
from multitudes.batch_inference.recommender import BatchConfig, BatchRecommender, open_recommender
from multitudes.batch_inference.results import Counts, write_shard
from multitudes.data.location import Location, open_for_arrow, parse_location
from multitudes.data.tables import table_sha256
from multitudes.errors import DataError, MissingError, UsageError
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
        every = range(users.n_shards)
        existing = [shard for shard in every if (out / results.shard_name(shard)).exists()]
        task = partial(recommend_shard, open_release.path, out, config, extra_users, shard_users)
        total = Counts(0, 0, 0)
        for shard in existing:
            total = total.plus(results.shard_counts(out, shard, len(users.table(shard))))
        progress(total.users, len(users), f"{len(existing)} shards exist")
        for shard in write_shards(task, [shard for shard in every if shard not in existing], processes):
            total = total.plus(results.shard_counts(out, shard, len(users.table(shard))))
            progress(total.users, len(users))
        results.write_manifest(out, total, users.n_shards)
    return total


def write_shards(task: Callable[[int], int], shards: Sequence[int], processes: int) -> Iterator[int]:
    """Do the task of each shard, with several workers if ``processes`` > 1; yield its number when it is complete.

    Raises:
        MissingError: a worker was killed.
    """
    if processes == 1 or len(shards) < 2:
        for shard in shards:
            yield task(shard)
        return
    with _worker_pool(min(processes, len(shards))) as pool:
        pending = {pool.submit(task, shard) for shard in shards}
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


def recommend_shard(
    release: Path, out: Path, config: BatchConfig, extra_users: Path | None, shard_users: int, shard: int
) -> int:
    """Write one shard and return its number; ``release`` is the folder of one version."""
    recommender = open_recommender(str(release), config)
    table = _user_shards(recommender, extra_users, shard_users).table(shard)
    batches = (table.slice(start, _USERS_PER_ROW_GROUP) for start in range(0, len(table), _USERS_PER_ROW_GROUP))
    write_shard(out, shard, map(recommender.recommend, batches), recommender.schema)
    return shard


@lru_cache(maxsize=1)
def _user_shards(recommender: BatchRecommender, extra_users: Path | None, shard_users: int) -> "UserShards":
    return UserShards(recommender.release, extra_users, shard_users)


@contextmanager
def _worker_pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of workers, which are terminated if the block ends with an error.

    The libraries of workers have one thread, because each core has a worker.
    """
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_initialise_worker)  # starts none yet
    before = {name: os.environ[name] for name in threads.THREAD_VARIABLES if name in os.environ}
    os.environ.update(dict.fromkeys(threads.THREAD_VARIABLES, "1"))
    try:
        yield pool
    except BaseException:
        for worker in list((pool._processes or {}).values()):
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for name in threads.THREAD_VARIABLES:
            del os.environ[name]
        os.environ.update(before)


def _initialise_worker() -> None:
    """Ignore Ctrl-C, which the parent handles, and exit when the parent exits for any reason."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=_exit_with_parent, args=(parent.sentinel,), daemon=True).start()


def _exit_with_parent(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


class UserShards:
    """The users of a release by number, then those of a table, in shards of equal size."""

    def __init__(self, release: Release, extra_users: Path | None, shard_users: int) -> None:
        """Read the Parquet table (a path or a URL) of users who come after those of the release.

        Raises:
            DataError: the table cannot be read, does not fit the release, or has a user twice.
            UsageError: there is no such file.
        """
        self._release, self._size = release, shard_users
        table = None if extra_users is None else parse_location(extra_users)
        self._extra_users = pa.table({"user_id": []}) if table is None else _read_extra_users(table, release)
        self._digest = None if table is None else table_sha256(table)
        self._n_release_shards = -(-release.n_users // shard_users)  # no shard has users of both

    def __len__(self) -> int:
        """Return the number of users."""
        return self._release.n_users + len(self._extra_users)

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return self._n_release_shards + -(-len(self._extra_users) // self._size)

    def table(self, shard: int) -> Any:  # noqa: ANN401 (pyarrow has no types)
        """Return the users of a shard as an Arrow table."""
        if shard < self._n_release_shards:
            ids = self._release.user_ids.slice(shard * self._size, self._size)
            return check_users(pa.table({"user_id": ids.to_arrow()}), self._release)
        return self._extra_users.slice((shard - self._n_release_shards) * self._size, self._size)

    def record(self) -> dict[str, Any]:
        """Return the settings that determine the shards, as JSON."""
        return {"users": len(self), "shard_users": self._size, "more_users": self._digest}


def _read_extra_users(file: Location, release: Release) -> Any:  # noqa: ANN401
    try:
        table = check_users(pq.read_table(open_for_arrow(file)), release)
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    except FileNotFoundError:
        raise UsageError(f"{file}: no such file; give Parquet with user_id, history and followed_topics") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file}: cannot be read as Parquet ({str(error).splitlines()[0]})") from None
    repeated = find_duplicate(table["user_id"].combine_chunks())
    if repeated is not None:
        raise DataError(f"{file}: user {repeated!r} occurs twice; expected each user once")
    of_release = pc.is_in(table["user_id"], release.user_ids.to_arrow().cast(table["user_id"].type))
    known = table["user_id"].filter(of_release)
    if len(known):
        raise DataError(
            f"{file}: user {known[0].as_py()!r} is in the release already; leave out the users of the release"
        )
    return table
