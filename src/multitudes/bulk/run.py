"""Everybody is answered into a folder: what is missing of it is made, by processes side by side."""

from collections.abc import Iterator
from pathlib import Path

from multitudes.bulk import folder as results
from multitudes.bulk.answer import BulkConfig
from multitudes.bulk.folder import Counts
from multitudes.bulk.users import Users
from multitudes.bulk.workers import Task, each
from multitudes.errors import UsageError
from multitudes.progress import Progress, silent
from multitudes.release.release import Release


def recommend_all(
    release: str | Path,
    out: str | Path,
    config: BulkConfig | None = None,
    *,
    more: Path | None = None,
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
        more: Parquet table of people beyond the release: user_id, history, followed_topics.
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
    out, config = Path(out), config or BulkConfig()
    if shard_users < 1 or processes < 1:
        raise UsageError(f"shard_users = {shard_users}, processes = {processes}; expected at least 1 of each")
    opened = Release.open(release)
    users = Users(opened, more, shard_users)
    begun = {
        "release": opened.version,
        "release_identity": opened.identity,
        **config.model_dump(mode="json"),
        **users.record(),
    }
    with results.writing(out, begun, overwrite=overwrite):
        if (out / results.MANIFEST).exists():
            return results.counts(results.verified(out))
        done = {shard: _done(out, shard, users) for shard in range(users.shards)}
        missing = [shard for shard, counts in done.items() if counts is None]
        task = Task(str(opened.path), str(out), config, more, shard_users)
        _follow(each(task, missing, processes), done, out, users, progress)
        results.finish(out, _sum(done), users.shards)
    return _sum(done)


def _follow(made: Iterator[int], done: dict[int, Counts | None], out: Path, users: Users, progress: Progress) -> None:
    """Take note of each shard that is made."""
    progress(_sum(done).users, len(users), f"{sum(counts is not None for counts in done.values())} shards were there")
    for shard in made:
        done[shard] = results.part_counts(out, shard, users.size(shard))
        progress(_sum(done).users, len(users))


def _done(out: Path, shard: int, users: Users) -> Counts | None:
    """Return what a shard holds that is there already, or None."""
    exists = (out / results.part_name(shard)).exists()
    return results.part_counts(out, shard, users.size(shard)) if exists else None


def _sum(done: dict[int, Counts | None]) -> Counts:
    return Counts(*(sum(column) for column in zip(Counts(0, 0, 0), *filter(None, done.values()), strict=True)))
