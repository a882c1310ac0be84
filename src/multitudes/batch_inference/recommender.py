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

from multitudes.batch_inference import columns
from multitudes.batches.histories import Histories, slice_histories
from multitudes.batches.user_vectors import UserVectors
from multitudes.config import Config
from multitudes.errors import DataError
from multitudes.ids import Id
from multitudes.release.release import Release
from multitudes.retrieval.catalogue import popular_items
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.preferences import draw_conditions
from multitudes.retrieval.request import Shortfall
from multitudes.retrieval.response import interest_namer
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.search import Candidates, find_candidates, popular_candidates
from multitudes.retrieval.user_context import UserContext, UserContextBuilder
from multitudes.retrieval.user_vectors import user_vectors

_USERS_PER_CHUNK = 1024
_TOWER_BATCH = 16  # users; 64 take 1.1 times as long each (joint, width 64, 100 events)


class BatchConfig(Config):
    """What everybody gets."""

    n: int = Field(100, gt=0, description="candidates of each user")
    request: str = Field("", description="name of the request, which decides the followed topics that are drawn")
    vectors: bool = Field(False, description="write the vectors of each user beside the candidates")
    retrieve: RetrieveConfig | None = Field(None, description="how to retrieve, in place of the release's")


class BatchRecommender:
    """Answers from one release, opened once."""

    def __init__(self, release: str | Path, config: BatchConfig) -> None:
        """Open a release.

        Raises:
            ArtefactError: nothing is released there, or the release is damaged or of another version.
        """
        self._config = config
        retriever = Retriever.open(release, config.retrieve)
        self._retrieve, self.catalogue = retriever.config, retriever.catalogue
        self.release: Release = retriever.release
        self._contexts = UserContextBuilder(self.release)
        self._interest_namer = interest_namer(self.release)
        self._item_ids = columns.ItemIds.of(self.release)
        self.schema = columns.output_schema(self.release, config.vectors)

    def recommend(self, users: Any) -> Any:  # noqa: ANN401 (pyarrow has no types)
        """Return a table of answers, a row for each row of ``users``, in its order.

        Args:
            users: Arrow batch or table with ``user_id``, and where somebody is described ``history`` (item ids, newest
                last) and ``followed_topics``: lists, or null for a user whom the release knows.

        Raises:
            DataError: a column is missing or of another type.
        """
        table = columns.check_users(
            pa.Table.from_batches([users]) if isinstance(users, pa.RecordBatch) else users, self.release
        )
        parts = [
            self._recommend_chunk(table.slice(start, _USERS_PER_CHUNK))
            for start in range(0, len(table), _USERS_PER_CHUNK)
        ]
        return pa.concat_tables(parts) if parts else self.schema.empty_table()

    def _recommend_chunk(self, table: Any) -> Any:  # noqa: ANN401
        """Answer as many users as are worth a call: those of the release, then those described, then others."""
        described_B = columns.is_anonymous(table)
        number_B = self.release.user_numbers.numbers(table["user_id"].to_pylist())
        known = np.flatnonzero(~described_B & (number_B > 0))
        told = np.flatnonzero(described_B)
        others = np.flatnonzero(~described_B & (number_B == 0))
        parts = []
        if len(known):
            parts.append(self._recommend_by_vectors(self._contexts.from_release(number_B[known] - 1)))
        if len(told):
            parts.append(self._recommend_by_vectors(self._anonymous_contexts(table.take(told))))
        if len(others):
            parts.append(self._recommend_popular(table.take(others)))
        place = np.concatenate([known, told, others])
        answers = pa.concat_tables(parts)
        return answers if (np.diff(place) > 0).all() else answers.take(np.argsort(place))

    def _anonymous_contexts(self, table: Any) -> UserContext:  # noqa: ANN401
        """Return people as they are described."""
        history, follows = (columns.list_column(table, name) for name in ("history", "followed_topics"))
        each = [
            self._contexts.from_request(items or (), topics or (), name)
            for items, topics, name in zip(history, follows, table["user_id"].to_pylist(), strict=True)
        ]
        ids: list[Id | None] = [one.user_ids[0] for one in each]
        histories = Histories(*map(np.concatenate, zip(*(one.histories for one in each), strict=True)))
        user_B, nothing = np.concatenate([one.user_B for one in each]), [0] * len(each)
        return UserContext(ids, user_B, histories, None, [one.seen[0] for one in each], nothing, nothing)

    def _recommend_by_vectors(self, context: UserContext) -> Any:  # noqa: ANN401
        """Answer by vectors."""
        explicit = self.release.manifest.kinds.count("explicit")
        requests = [self._config.request] * len(context.user_B)
        topic_BC = draw_conditions(context.histories.follow_BF, (), explicit, context.user_B, requests, self._retrieve)
        vectors = self._user_vectors(context, topic_BC)
        found = find_candidates(vectors, self.catalogue, self._config.n, context.seen, self._retrieve)
        return self._to_table(context.user_ids, found, vectors, context.histories.item_BL)

    def _user_vectors(self, context: UserContext, topic_BC: NDArray[np.int64]) -> UserVectors:
        """Call the tower with as many users as its layers keep in the cache."""
        parts = []
        for start in range(0, len(topic_BC), _TOWER_BATCH):
            some = slice(start, start + _TOWER_BATCH)
            time_BL = None if context.time_BL is None else context.time_BL[some]
            parts.append(user_vectors(self.release, slice_histories(context.histories, some), topic_BC[some], time_BL))
        return UserVectors(parts[0].kinds, *map(np.concatenate, zip(*(part[1:] for part in parts), strict=True)))

    def _recommend_popular(self, table: Any) -> Any:  # noqa: ANN401
        """Answer those of whom nothing is known: with what is popular."""
        kinds = self.release.manifest.kinds
        item_N = popular_items(self.catalogue, self._config.n, np.zeros(0, dtype=np.int64))
        unknown = (Shortfall("unknown", "not in this release: popular items"),)
        one = popular_candidates(item_N, self.catalogue.event_counts(item_N), kinds, unknown)
        ids = table["user_id"].to_pylist()
        nobody = UserVectors(
            kinds,
            np.zeros((len(ids), len(kinds), 0), dtype=np.float32),
            np.zeros((len(ids), len(kinds)), dtype=np.float32),
            np.zeros((len(ids), len(kinds)), dtype=np.bool_),
            np.zeros((len(ids), len(kinds)), dtype=np.int64),
            np.zeros((len(ids), 0), dtype=np.int64),
        )
        return self._to_table(ids, [one] * len(ids), nobody, np.zeros((len(ids), 0), dtype=np.int64))

    def _to_table(
        self,
        ids: Sequence[Id | None],
        found: list[Candidates],
        vectors: UserVectors,
        item_BL: NDArray[np.int64],
    ) -> Any:  # noqa: ANN401
        names_BK = self._interest_namer.name_all(vectors, item_BL)
        release = pa.array([self.release.version] * len(found))
        arrays = [
            pa.array(ids, self.schema.field("user_id").type),
            release,
            pa.array([bool(one.shortfalls) for one in found]),
            columns.candidate_column(found, names_BK, self._item_ids),
        ]
        if self._config.vectors:
            share_BK = np.stack([one.share_K for one in found])
            arrays.append(columns.interest_column(vectors, names_BK, share_BK))
        return pa.Table.from_arrays(arrays, schema=self.schema)


@lru_cache(maxsize=1)
def open_recommender(release: str, config: BatchConfig) -> BatchRecommender:
    """Return the answerer of this process: a process answers many batches of one release."""
    try:
        return BatchRecommender(release, config)
    except FileNotFoundError:
        raise DataError(f"{release}: no such folder of releases; every worker needs it at this path") from None
