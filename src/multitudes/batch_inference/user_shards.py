"""The users of batch inference in shards: all users of a release, then the users of a table."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from multitudes.batch_inference.columns import check_users, find_duplicate
from multitudes.data.location import Location, open_for_arrow, parse_location
from multitudes.data.table_files import table_sha256
from multitudes.errors import DataError
from multitudes.release.release import Release


class UserShards:
    """The users of a release by number, then those of a table, in shards of equal size."""

    def __init__(self, release: Release, extra_users: Path | None, shard_users: int) -> None:
        """Read the table of users.

        Args:
            release: its users come first.
            extra_users: Parquet table (a path or a URL) of anonymous users, with history and followed_topics.
            shard_users: number of users of a shard.

        Raises:
            DataError: the table cannot be read, does not fit the release, or has a user twice.
        """
        self._release, self._size = release, shard_users
        table = None if extra_users is None else parse_location(extra_users)
        self._extra_users = None if table is None else _read_extra_users(table, release)
        self._digest = None if table is None else table_sha256(table)
        self._n_release_shards = -(-release.n_users // shard_users)  # no shard has users of both

    def __len__(self) -> int:
        """Return the number of users."""
        return self._release.n_users + (0 if self._extra_users is None else len(self._extra_users))

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return self._n_release_shards + (0 if self._extra_users is None else -(-len(self._extra_users) // self._size))

    def size(self, shard: int) -> int:
        """Return the number of users of a shard."""
        return len(self.table(shard))

    def table(self, shard: int) -> Any:  # noqa: ANN401 (pyarrow has no types)
        """Return the users of a shard as an Arrow table."""
        if shard < self._n_release_shards:
            ids = self._release.user_ids.slice(shard * self._size, self._size)
            return check_users(pa.table({"user_id": ids.to_arrow()}), self._release)
        assert self._extra_users is not None
        return self._extra_users.slice((shard - self._n_release_shards) * self._size, self._size)

    def record(self) -> dict[str, Any]:
        """Return the settings that determine the shards, as JSON."""
        return {"users": len(self), "shard_users": self._size, "more_users": self._digest}


def _read_extra_users(file: Location, release: Release) -> Any:  # noqa: ANN401
    try:
        table = check_users(pq.read_table(open_for_arrow(file)), release)
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
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
