"""Many users in, their candidates out, as Arrow batches: what a process of this machine calls, and one of Spark.

An answer is the one that ``Retriever.recommend`` gives, of which nothing is made into objects on the way.

Legend: B users · L history · K vectors · C conditions · N candidates.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from multitudes.batches.histories import Histories, rows
from multitudes.batches.vectors import UserVectors
from multitudes.bulk import columns
from multitudes.config import Config
from multitudes.errors import DataError
from multitudes.ids import Id
from multitudes.release.release import Release
from multitudes.retrieve.find import Candidates, find, popular_alone
from multitudes.retrieve.people import Asked, People
from multitudes.retrieve.plan import RetrieveConfig
from multitudes.retrieve.popular import popular
from multitudes.retrieve.present import vocabulary
from multitudes.retrieve.retriever import Retriever
from multitudes.retrieve.shortfall import Shortfall
from multitudes.retrieve.tower import user_vectors
from multitudes.retrieve.wishes import conditions

_USERS_AT_ONCE = 1024
_OF_TOWER = 16  # users; 64 take 1.1 times as long each (joint, width 64, 100 events)


class BulkConfig(Config):
    """What everybody gets."""

    n: int = Field(100, gt=0, description="candidates of each user")
    request: str = Field("", description="name of the request, which decides the followed topics that are drawn")
    vectors: bool = Field(False, description="write the vectors of each user beside the candidates")
    retrieve: RetrieveConfig | None = Field(None, description="how to retrieve, in place of the release's")


class Answerer:
    """Answers from one release, opened once."""

    def __init__(self, release: str | Path, config: BulkConfig) -> None:
        """Open a release.

        Raises:
            ArtefactError: nothing is released there, or the release is damaged or of another version.
        """
        self._config = config
        retriever = Retriever.open(release, config.retrieve)
        self._retrieve, self.catalogue = retriever.config, retriever.catalogue
        self.release: Release = retriever.release
        self._people = People(self.release)
        self._vocabulary = vocabulary(self.release)
        self._names = columns.Names.of(self.release)
        self.schema = columns.schema(self.release, config.vectors)

    def answer(self, users: Any) -> Any:  # noqa: ANN401 (pyarrow has no types)
        """Return a table of answers, a row for each row of ``users``, in its order.

        Args:
            users: Arrow batch or table with ``user_id``, and where somebody is described ``history`` (item ids, newest
                last) and ``followed_topics``: lists, or null for a user whom the release knows.

        Raises:
            DataError: a column is missing or of another type.
        """
        table = columns.checked_users(
            pa.Table.from_batches([users]) if isinstance(users, pa.RecordBatch) else users, self.release
        )
        parts = [self._some(table.slice(start, _USERS_AT_ONCE)) for start in range(0, len(table), _USERS_AT_ONCE)]
        return pa.concat_tables(parts) if parts else self.schema.empty_table()

    def _some(self, table: Any) -> Any:  # noqa: ANN401
        """Answer as many users as are worth a call: those of the release, then those described, then others."""
        described_B = columns.described(table)
        number_B = self.release.user_numbers.of(table["user_id"].to_pylist())
        known = np.flatnonzero(~described_B & (number_B > 0))
        told = np.flatnonzero(described_B)
        others = np.flatnonzero(~described_B & (number_B == 0))
        parts = []
        if len(known):
            parts.append(self._found(self._people.known(number_B[known] - 1)))
        if len(told):
            parts.append(self._found(self._told(table.take(told))))
        if len(others):
            parts.append(self._unknown(table.take(others)))
        place = np.concatenate([known, told, others])
        answers = pa.concat_tables(parts)
        return answers if (np.diff(place) > 0).all() else answers.take(np.argsort(place))

    def _told(self, table: Any) -> Asked:  # noqa: ANN401
        """Return people as they are described."""
        history, follows = (columns.lists(table, name) for name in ("history", "followed_topics"))
        each = [
            self._people.described(items or (), topics or (), name)
            for items, topics, name in zip(history, follows, table["user_id"].to_pylist(), strict=True)
        ]
        ids: list[Id | None] = [one.ids[0] for one in each]
        histories = Histories(*map(np.concatenate, zip(*(one.histories for one in each), strict=True)))
        user_B, nothing = np.concatenate([one.user_B for one in each]), [0] * len(each)
        return Asked(ids, user_B, histories, None, [one.seen[0] for one in each], nothing, nothing)

    def _found(self, asked: Asked) -> Any:  # noqa: ANN401
        """Answer by vectors."""
        explicit = self.release.manifest.kinds.count("explicit")
        requests = [self._config.request] * len(asked.user_B)
        topic_BC = conditions(asked.histories.follow_BF, (), explicit, asked.user_B, requests, self._retrieve)
        vectors = self._vectors(asked, topic_BC)
        found = find(vectors, self.catalogue, self._config.n, asked.seen, self._retrieve)
        return self._table(asked.ids, found, vectors, asked.histories.item_BL)

    def _vectors(self, asked: Asked, topic_BC: NDArray[np.int64]) -> UserVectors:
        """Call the tower with as many users as its layers keep in the cache."""
        parts = []
        for start in range(0, len(topic_BC), _OF_TOWER):
            some = slice(start, start + _OF_TOWER)
            time_BL = None if asked.time_BL is None else asked.time_BL[some]
            parts.append(user_vectors(self.release, rows(asked.histories, some), topic_BC[some], time_BL))
        return UserVectors(parts[0].kinds, *map(np.concatenate, zip(*(part[1:] for part in parts), strict=True)))

    def _unknown(self, table: Any) -> Any:  # noqa: ANN401
        """Answer those of whom nothing is known: with what is popular."""
        kinds = self.release.manifest.kinds
        item_N = popular(self.catalogue, self._config.n, np.zeros(0, dtype=np.int64))
        unknown = (Shortfall("unknown", "not in this release: popular items"),)
        one = popular_alone(item_N, self.catalogue.events(item_N), kinds, unknown)
        ids = table["user_id"].to_pylist()
        nobody = UserVectors(
            kinds,
            np.zeros((len(ids), len(kinds), 0), dtype=np.float32),
            np.zeros((len(ids), len(kinds)), dtype=np.float32),
            np.zeros((len(ids), len(kinds)), dtype=np.bool_),
            np.zeros((len(ids), len(kinds)), dtype=np.int64),
            np.zeros((len(ids), 0), dtype=np.int64),
        )
        return self._table(ids, [one] * len(ids), nobody, np.zeros((len(ids), 0), dtype=np.int64))

    def _table(
        self,
        ids: Sequence[Id | None],
        found: list[Candidates],
        vectors: UserVectors,
        item_BL: NDArray[np.int64],
    ) -> Any:  # noqa: ANN401
        names_BK = self._vocabulary.names(vectors, item_BL)
        release = pa.array([self.release.version] * len(found))
        arrays = [
            pa.array(ids, self.schema.field("user_id").type),
            release,
            pa.array([bool(one.shortfalls) for one in found]),
            columns.candidates(found, names_BK, self._names),
        ]
        if self._config.vectors:
            share_BK = np.stack([one.share_K for one in found])
            arrays.append(columns.interests(vectors, names_BK, share_BK))
        return pa.Table.from_arrays(arrays, schema=self.schema)


@lru_cache(maxsize=1)
def opened(release: str, config: BulkConfig) -> Answerer:
    """Return the answerer of this process: a process answers many batches of one release."""
    try:
        return Answerer(release, config)
    except FileNotFoundError:
        raise DataError(f"{release}: no such folder of releases; every worker needs it at this path") from None
