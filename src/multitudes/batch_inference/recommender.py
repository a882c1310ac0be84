"""Recommend to many users: Arrow batches of users in, Arrow batches of candidates out.

Local processes and Spark executors call the same code. The candidates are those of ``Retriever.recommend``, but
no Python object is created for a candidate.

Legend: B users · L history · K vectors.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from multitudes.api import MAX_LIST
from multitudes.batch_inference import columns
from multitudes.batches.user_vectors import UserVectors, concatenate_vectors
from multitudes.config import Config
from multitudes.errors import DataError
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.explanation import MAX_OWN_ITEMS, Explainer
from multitudes.retrieval.interest_names import InterestNamer
from multitudes.retrieval.request import Request
from multitudes.retrieval.response import Retrieval
from multitudes.retrieval.retriever import Retriever

_USERS_PER_CHUNK = 1024


class BatchConfig(Config):
    """Settings of the recommendations of all users."""

    n: int = Field(100, gt=0, le=MAX_LIST, description="number of candidates of each user")
    request: str = Field("", description="id of the request, which determines the followed topics that are drawn")
    vectors: bool = Field(False, description="write the vectors of each user too")
    explain: bool = Field(False, description="write the reasons for each candidate, and what each interest is made of")
    retrieve: RetrieveConfig | None = Field(None, description="settings of retrieval, in place of those of the release")


class BatchRecommender:
    """Recommends to tables of users, with one release."""

    def __init__(self, release: str | Path, config: BatchConfig) -> None:
        """Open a release: a folder of releases, or the folder of one version.

        Raises:
            ArtefactError: nothing is released there, or the release is damaged or of another format version.
        """
        self._config, self._retriever = config, Retriever.open(release, config.retrieve)
        self._snapshot = self._retriever.snapshot()  # all answers come from the items of now
        self.release = self._snapshot.release
        self._interest_namer = InterestNamer.from_release(self.release)
        self._explainer = Explainer(self.release.index)
        self._item_ids = columns.item_ids(self.release)
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
        histories, topics = (
            table[name].to_pylist() if name in table.column_names else [None] * len(table)
            for name in ("history", "followed_topics")
        )
        ids, config = table["user_id"].to_pylist(), self._config
        requests = [
            Request(
                user_id if history is None and followed is None else None,
                history=history,
                followed_topics=followed,
                n=config.n,
                request_id=config.request,
            )
            for user_id, history, followed in zip(ids, histories, topics, strict=True)
        ]
        retrieved = self._retriever.retrieve(self._snapshot, requests)
        candidates, contexts = [one.candidates for one in retrieved], [one.resolved.context for one in retrieved]
        vectors = _join_vectors(retrieved)
        item_BL = np.concatenate([context.histories.item_BL for context in contexts])
        names_BK = self._interest_namer.name_all(vectors, item_BL)
        because = examples = None
        if config.explain:
            own = [context.positives[-MAX_OWN_ITEMS:] for context in contexts]
            because = [self._explainer.explain(*user) for user in zip(own, candidates, strict=True)]
            examples = columns.InterestExamples.find(vectors, item_BL, self.release.item_names)
        arrays = [
            pa.array(ids, self.schema.field("user_id").type),
            pa.array([self.release.version] * len(candidates)),
            pa.array([bool(one.shortfalls) for one in retrieved]),
            columns.candidate_column(candidates, names_BK, self._item_ids, because),
        ]
        if config.vectors or examples is not None:
            share_BK = np.stack([one.share_K for one in candidates])
            arrays.append(
                columns.interest_column(vectors, names_BK, share_BK, with_vectors=config.vectors, examples=examples)
            )
        return pa.Table.from_arrays(arrays, schema=self.schema)


def _join_vectors(retrieved: Sequence[Retrieval]) -> UserVectors:
    """Return the vectors of all users; those of users with popular items alone are masked."""
    known = [one.vectors for one in retrieved if one.vectors is not None]
    kinds, width = retrieved[0].candidates.kinds, known[0].vectors_BKD.shape[2] if known else 0
    vectors_BKD, mask_BK = np.zeros((1, len(kinds), width), dtype=np.float32), np.zeros((1, len(kinds)), dtype=np.bool_)
    none = UserVectors.alike(kinds, vectors_BKD, mask_BK, retrieved[0].resolved.context.histories.item_BL.shape[1])
    return concatenate_vectors([one.vectors or none for one in retrieved])


@lru_cache(maxsize=1)
def open_recommender(release: str, config: BatchConfig, state: str = "") -> BatchRecommender:  # noqa: ARG001
    """Return the recommender of this process, which opens a release once for many batches of the same ``state``.

    Raises:
        DataError: there is no such folder.
        ArtefactError: nothing is released there, or the release is damaged or of another format version.
    """
    try:
        return BatchRecommender(release, config)
    except FileNotFoundError:
        raise DataError(f"{release}: does not exist; every worker needs the folder of releases at this path") from None
