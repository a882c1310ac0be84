"""Recommend to many users: Arrow batches of users in, Arrow batches of candidates out.

Local processes and Spark executors call the same code. The candidates are those of ``Retriever.recommend``, but
no Python object is created for a candidate.

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
from multitudes.batches.user_vectors import UserVectors, concatenate_vectors
from multitudes.config import Config
from multitudes.errors import DataError
from multitudes.ids import Id
from multitudes.release.release import Release
from multitudes.retrieval.calibration import with_owners, with_tastes
from multitudes.retrieval.catalogue import popular_items
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.explanation import Explainer, own_items
from multitudes.retrieval.preferences import draw_conditions
from multitudes.retrieval.repeats import RepeatSource
from multitudes.retrieval.request import Shortfall
from multitudes.retrieval.response import interest_namer
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.search import NO_ITEMS, Candidates, find_candidates, popular_candidates
from multitudes.retrieval.user_context import UserContext, UserContextBuilder
from multitudes.retrieval.user_vectors import user_vectors

_USERS_PER_CHUNK = 1024
_TOWER_BATCH = 16  # users; with 64, each takes 1.1 times as long (joint, width 64, 100 events)


class BatchConfig(Config):
    """Settings of the recommendations of all users."""

    n: int = Field(100, gt=0, description="number of candidates of each user")
    request: str = Field("", description="id of the request, which determines the followed topics that are drawn")
    vectors: bool = Field(False, description="write the vectors of each user too")
    explain: bool = Field(False, description="write the reasons for each candidate, and what each interest is made of")
    retrieve: RetrieveConfig | None = Field(None, description="settings of retrieval, in place of those of the release")


class BatchRecommender:
    """Recommends to tables of users, with one release."""

    def __init__(self, release: str | Path, config: BatchConfig) -> None:
        """Open a release.

        Args:
            release: a folder of releases, or the folder of one version.
            config: settings.

        Raises:
            ArtefactError: nothing is released there, or the release is damaged or of another format version.
        """
        self._config = config
        retriever = Retriever.open(release, config.retrieve)
        self._retrieve_config, self.catalogue = retriever.config, retriever.catalogue
        self.release: Release = retriever.release
        self._contexts = UserContextBuilder(self.release)
        self._repeats = RepeatSource.from_release(self.release)
        self._interest_namer = interest_namer(self.release)
        self._explainer = Explainer(self.release.index)
        self._item_ids = columns.ItemIds.from_release(self.release)
        self.schema = columns.output_schema(self.release, config.vectors, config.explain)

    def recommend(self, users: Any) -> Any:  # noqa: ANN401 (pyarrow has no types)
        """Recommend to many users.

        Args:
            users: Arrow batch or table with ``user_id`` and, for anonymous users, ``history`` (item ids, newest last)
                and ``followed_topics``: lists, or null for a user of the release.

        Returns:
            An Arrow table with the columns of ``columns.output_schema`` and one row for each user, in order.

        Raises:
            DataError: a column is missing or of another type.
        """
        table = columns.check_users(
            pa.Table.from_batches([users]) if isinstance(users, pa.RecordBatch) else users, self.release
        )
        starts = range(0, len(table), _USERS_PER_CHUNK)
        chunks = [self._recommend_chunk(table.slice(start, _USERS_PER_CHUNK)) for start in starts]
        return pa.concat_tables(chunks) if chunks else self.schema.empty_table()

    def _recommend_chunk(self, table: Any) -> Any:  # noqa: ANN401
        """Recommend to at most ``_USERS_PER_CHUNK`` users."""
        anonymous_B = columns.is_anonymous(table)
        number_B = self.release.user_numbers.numbers(table["user_id"].to_pylist())
        known = np.flatnonzero(~anonymous_B & (number_B > 0))
        anonymous = np.flatnonzero(anonymous_B)
        unknown = np.flatnonzero(~anonymous_B & (number_B == 0))
        answers = []
        if len(known):
            answers.append(self._recommend_by_vectors(self._contexts.from_release(number_B[known] - 1)))
        if len(anonymous):
            answers.append(self._recommend_by_vectors(self._anonymous_contexts(table.take(anonymous))))
        if len(unknown):
            answers.append(self._recommend_popular(table.take(unknown)))
        row = np.concatenate([known, anonymous, unknown])
        answer = pa.concat_tables(answers)
        return answer if (np.diff(row) > 0).all() else answer.take(np.argsort(row))

    def _anonymous_contexts(self, table: Any) -> UserContext:  # noqa: ANN401
        """Read anonymous users."""
        histories, topics = (columns.list_column(table, name) for name in ("history", "followed_topics"))
        contexts = [
            self._contexts.from_request(history or (), followed_topics or (), name)
            for history, followed_topics, name in zip(histories, topics, table["user_id"].to_pylist(), strict=True)
        ]
        no_counts = [0] * len(contexts)  # of unknown items and topics: no column has them
        return UserContext(
            user_ids=[context.user_ids[0] for context in contexts],
            user_B=np.concatenate([context.user_B for context in contexts]),
            histories=Histories(*map(np.concatenate, zip(*(one.histories for one in contexts), strict=True))),
            time_BL=None,
            seen=[context.seen[0] for context in contexts],
            unknown_items_B=no_counts,
            unknown_topics_B=no_counts,
            own=[items for context in contexts for items in context.own],
        )

    def _recommend_by_vectors(self, context: UserContext) -> Any:  # noqa: ANN401
        """Recommend by a search with the users' vectors."""
        explicit = self.release.manifest.kinds.count("explicit")
        request_ids = [self._config.request] * len(context.user_B)
        topic_BC = draw_conditions(
            context.histories.follow_BF, (), explicit, context.user_B, request_ids, self._retrieve_config
        )
        vectors = self._user_vectors(context, topic_BC)
        candidates = self._find_candidates(context, vectors)
        own = own_items(context) if self._config.explain else []
        return self._to_table(context.user_ids, candidates, vectors, context.histories.item_BL, own)

    def _find_candidates(self, context: UserContext, vectors: UserVectors) -> list[Candidates]:
        """Search with the users' vectors; where seen items are allowed, add those that the users return to."""
        config, n, users = self._retrieve_config, self._config.n, len(context.user_B)
        no_items = [NO_ITEMS] * users
        if not config.exclude_seen and (self._repeats is None or config.repeat_share == 0):
            return find_candidates(vectors, self.catalogue, n, no_items, config)
        candidates = find_candidates(vectors, self.catalogue, n, context.seen, config)
        if config.exclude_seen or self._repeats is None:
            return candidates
        return self._repeats.add_repeats(
            candidates, context.own, [n] * users, no_items, self.catalogue, config.repeat_share
        )

    def _user_vectors(self, context: UserContext, topic_BC: NDArray[np.int64]) -> UserVectors:
        """Call the tower with as many users at once as fit into the processor's cache."""
        positives, chunks = context.positives(), []
        for start in range(0, len(topic_BC), _TOWER_BATCH):
            chunk = slice(start, start + _TOWER_BATCH)
            time_BL = None if context.time_BL is None else context.time_BL[chunk]
            histories = slice_histories(context.histories, chunk)
            chunks.append(user_vectors(self.release, histories, topic_BC[chunk], time_BL, positives[chunk]))
        calibration = self._retrieve_config.calibration or 0.0
        vectors = with_tastes(concatenate_vectors(chunks), positives, self.catalogue, calibration)
        return with_owners(vectors, context.histories.item_BL, self.catalogue)

    def _recommend_popular(self, table: Any) -> Any:  # noqa: ANN401
        """Recommend popular items to users who are not in the release."""
        kinds = self.release.manifest.kinds
        item_N = popular_items(self.catalogue, self._config.n, NO_ITEMS)
        shortfalls = (Shortfall("unknown", "not in this release: popular items"),)
        candidates = popular_candidates(item_N, self.catalogue.user_counts(item_N), kinds, shortfalls)
        ids = table["user_id"].to_pylist()
        no_vectors = UserVectors(
            kinds,
            np.zeros((len(ids), len(kinds), 0), dtype=np.float32),
            np.zeros((len(ids), len(kinds)), dtype=np.float32),
            np.zeros((len(ids), len(kinds)), dtype=np.bool_),
            np.zeros((len(ids), len(kinds)), dtype=np.int64),
            np.zeros((len(ids), 0), dtype=np.int64),
        )
        no_history_BL = np.zeros((len(ids), 0), dtype=np.int64)
        return self._to_table(ids, [candidates] * len(ids), no_vectors, no_history_BL, [NO_ITEMS] * len(ids))

    def _to_table(
        self,
        ids: Sequence[Id | None],
        candidates: list[Candidates],
        vectors: UserVectors,
        item_BL: NDArray[np.int64],
        own: list[NDArray[np.int64]],
    ) -> Any:  # noqa: ANN401
        names_BK = self._interest_namer.name_all(vectors, item_BL)
        because = examples = None
        if self._config.explain:
            because = [self._explainer.explain(*user) for user in zip(own, candidates, strict=True)]
            examples = columns.InterestExamples.find(vectors, item_BL, self.release.item_names)
        release = pa.array([self.release.version] * len(candidates))
        arrays = [
            pa.array(ids, self.schema.field("user_id").type),
            release,
            pa.array([bool(one.shortfalls) for one in candidates]),
            columns.candidate_column(candidates, names_BK, self._item_ids, because),
        ]
        if self._config.vectors or examples is not None:
            share_BK = np.stack([one.share_K for one in candidates])
            arrays.append(
                columns.interest_column(
                    vectors, names_BK, share_BK, with_vectors=self._config.vectors, examples=examples
                )
            )
        return pa.Table.from_arrays(arrays, schema=self.schema)


@lru_cache(maxsize=1)
def open_recommender(release: str, config: BatchConfig) -> BatchRecommender:
    """Return the recommender of this process, which opens a release once for many batches.

    Raises:
        DataError: there is no such folder.
        ArtefactError: nothing is released there, or the release is damaged or of another format version.
    """
    try:
        return BatchRecommender(release, config)
    except FileNotFoundError:
        raise DataError(f"{release}: does not exist; every worker needs the folder of releases at this path") from None
