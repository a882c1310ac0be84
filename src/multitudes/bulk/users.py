"""Who is answered, in which shard: every user of a release, and people of a table behind them, each once."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from multitudes.bulk.columns import checked_users, duplicate
from multitudes.data.address import Place, place, readable
from multitudes.data.digest import sha256
from multitudes.errors import DataError
from multitudes.release.release import Release


class Users:
    """The users of a release in the order of their numbers, then those of a table, in shards of equal size."""

    def __init__(self, release: Release, more: Path | None, size: int) -> None:
        """Count them.

        Args:
            release: whose users are answered.
            more: Parquet table of people beyond them (a path, or an address), described by history and followed_topics.
            size: users of a shard.

        Raises:
            DataError: the table cannot be read or does not fit the release, or names somebody twice.
        """
        self._release, self._size = release, size
        table = None if more is None else place(more)
        self._more = None if table is None else _read(table, release)
        self._digest = None if table is None else sha256(table)
        self._own = -(-release.n_users // size)  # shards never mix

    def __len__(self) -> int:
        """Return how many users there are."""
        return self._release.n_users + (0 if self._more is None else len(self._more))

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return self._own + (0 if self._more is None else -(-len(self._more) // self._size))

    def size(self, shard: int) -> int:
        """Return how many users a shard has."""
        return len(self.of(shard))

    def of(self, shard: int) -> Any:  # noqa: ANN401 (pyarrow has no types)
        """Return the users of a shard."""
        if shard < self._own:
            ids = self._release.user_ids.slice(shard * self._size, self._size)
            return checked_users(pa.table({"user_id": ids.to_arrow()}), self._release)
        assert self._more is not None
        return self._more.slice((shard - self._own) * self._size, self._size)

    def record(self) -> dict[str, Any]:
        """Return what decides who is in which shard."""
        return {"users": len(self), "shard_users": self._size, "more_users": self._digest}


def _read(file: Place, release: Release) -> Any:  # noqa: ANN401
    try:
        table = checked_users(pq.read_table(readable(file)), release)
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file}: cannot be read as Parquet ({str(error).splitlines()[0]})") from None
    twice = duplicate(table["user_id"].combine_chunks())
    if twice is not None:
        raise DataError(f"{file}: user {twice!r} comes twice; expected each user once")
    of_release = pc.is_in(table["user_id"], release.user_ids.to_arrow().cast(table["user_id"].type))
    known = table["user_id"].filter(of_release)
    if len(known):
        raise DataError(f"{file}: user {known[0].as_py()!r} is in the release already; leave out whom it knows")
    return table
