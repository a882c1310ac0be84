"""The segment for large corpora: inverted lists of codes, searched for single vectors and for mixtures.

The codes are read into memory (32 bytes an item at 64 dimensions, and 40 for each item of a large topic); the vectors
stay on disk.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.errors import ArtefactError
from multitudes.index import files
from multitudes.index.approximate import ApproximateIndex, ApproximateSearch, open_approximate
from multitudes.index.batch_walk import propose_together
from multitudes.index.engine import DEFAULT_TARGET, RecallTarget
from multitudes.index.inverted_lists import FAISS_FILE, InvertedLists
from multitudes.index.inverted_mixture import USERS_TOGETHER, MixtureWalk, WalkScores
from multitudes.index.item_table import ItemTable, make_item_table
from multitudes.index.list_moments import MOMENT_FILES, ListMoments
from multitudes.index.mixture import MixtureQuery, ScoredItems
from multitudes.index.mixture_levels import MixtureFallback, MixtureTuning
from multitudes.index.mixture_tuning import UNTUNED, sample_users, tune_mixture
from multitudes.index.protocol import Topics
from multitudes.index.topic_lists import COUNT_FIELD, TopicLists
from multitudes.index.tuning import build_tuned, sample_queries
from multitudes.progress import Progress, silent
from multitudes.seeding import generator

_TRAINING_POINTS_PER_LIST = 64  # FAISS warns below 39 and gains little above 64
_GRAPH_FROM_LISTS = 8192  # from here on items find their list through a graph: every centroid would cost minutes
_ADD_BATCH = 100_000
_CODES = 16  # of 4 bits
# A topic that has one item in so many, or fewer, has codes of its own: to read them takes less than to search all items
# for those of the topic (ten million items, five topics of 100,000: 7.6 and 35 ms for a user).
_ITEMS_PER_CODED = 20
_FALLBACK_FIELD = "mixture_fallback"  # of index.json


def build(
    ids: ArrayLike,
    vectors: ArrayLike,
    topics: Topics | None = None,
    *,
    queries: NDArray[np.float32] | None = None,
    users: Sequence[MixtureQuery] | None = None,
    target: RecallTarget = DEFAULT_TARGET,
    lists: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> ApproximateIndex:
    """Build inverted lists, and tune the number of probes and the walk for mixtures.

    Args:
        ids: integers, distinct (n).
        vectors: one row for each id (n, D).
        topics: of the items, in the order of ``ids``.
        queries: held-out user vectors to tune on; see ``tuning.sample_queries``.
        users: the same vectors by user; see ``mixture_tuning.sample_users``.
        target: the recall to reach, and down to which depth.
        lists: number of inverted lists; by default the power of two nearest to 2·√n.
        seed: of the training sample and of the draw of queries.
        progress: called during the build.

    Raises:
        DataError: a vector or a query is not finite, or ids are repeated.
    """
    table = make_item_table(ids, vectors, topics)
    lists = lists or min(len(table), 2 ** round(np.log2(2 * np.sqrt(len(table)))))
    engine = InvertedLists(_train(table, lists, seed, progress))
    index = build_tuned(table, engine, queries, target, seed=seed, progress=progress)
    sample = sample_users(users, sample_queries(queries, table, seed), seed)
    moments = ListMoments.compute(table, engine)
    largest = len(table) // _ITEMS_PER_CODED
    topic_lists = TopicLists.build(
        table,
        lambda topic: index.is_scanned(topic) or len(table.postings.rows(topic)) <= largest,
        seed,
        progress,
    )
    topic_lists = topic_lists.calibrate(ApproximateSearch(*index.parts), sample)
    untuned = InvertedIndex(index, moments, topic_lists, UNTUNED)
    tuned = tune_mixture(untuned.walk, sample, target, progress)
    if isinstance(tuned, MixtureFallback):
        return FallbackIndex(index, tuned)
    return InvertedIndex(index, moments, topic_lists, tuned)


class InvertedIndex(ApproximateIndex):
    """Inverted lists that are searched for mixtures, too; see ``MixtureSegment``."""

    def __init__(
        self, index: ApproximateIndex, moments: ListMoments, topic_lists: TopicLists, tuning: MixtureTuning
    ) -> None:
        """Add the search for mixtures, as it was tuned, to an index of ``InvertedLists``."""
        super().__init__(*index.parts)
        _, engine, _ = index.parts
        assert isinstance(engine, InvertedLists)
        self.walk = MixtureWalk(self._search, engine, moments, topic_lists, tuning)

    def score_mixtures(self, queries: Sequence[MixtureQuery]) -> Iterator[WalkScores]:
        """Score the lists with the vectors of users; see ``MixtureSegment.score_mixtures``."""
        return self.walk.scores(queries)

    @property
    def users_together(self) -> int:
        """The number of users whose vectors are multiplied with a list at once."""
        return USERS_TOGETHER

    def propose_together(
        self, scores: Sequence[WalkScores], log_priors: Sequence[NDArray[np.float64]]
    ) -> list[ScoredItems]:
        """Return the best items of each user; see ``MixtureSegment.propose_together``."""
        return propose_together(self.walk, scores, log_priors)

    def without(self, ids: NDArray[np.int64]) -> Self:
        """Return a view whose searches do not find some items; see ``Segment.without``."""
        other = super().without(ids)
        other.walk = self.walk.with_search(other._search)
        return other

    def info(self) -> dict[str, Any]:
        """Describe the index and how it was tuned."""
        topics = len(self.walk.topic_lists.topic_T)
        return {**super().info(), "mixture": self.walk.tuning.to_record(), COUNT_FIELD: topics}

    def save(self, folder: Path) -> None:
        """Write the index, the moments of its lists and the codes of topics into ``folder``."""
        self.walk.moments.save(folder)
        self.walk.topic_lists.save(folder)
        super().save(folder)


class FallbackIndex(ApproximateIndex):
    """Inverted lists that find too little of a mixture, so that each vector is searched by itself."""

    def __init__(self, index: ApproximateIndex, fallback: MixtureFallback) -> None:
        """Add to an index why it is not searched for mixtures."""
        super().__init__(*index.parts)
        self._fallback = fallback

    def info(self) -> dict[str, Any]:
        """Describe the index, how it was tuned, and why it is not searched for mixtures."""
        return {**super().info(), _FALLBACK_FIELD: self._fallback._asdict()}


def open_saved(folder: Path, record: dict[str, Any]) -> ApproximateIndex:
    """Open a saved index; see ``open_approximate``. One without a tuning for mixtures does not offer them."""
    index = open_approximate(folder, record, FAISS_FILE, lambda file: InvertedLists(faiss.read_index(file)))
    if "mixture" not in record:
        return _open_fallback(folder, record, index)
    moments = ListMoments.load(folder)
    try:
        tuning = MixtureTuning.from_record(record["mixture"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ArtefactError(f"{folder / files.DESCRIPTION}: 'mixture' is damaged; publish the run again") from None
    lists, width = index.info()["lists"], index.info()["dimension"]
    if [array.shape for array in moments] != [(lists, width), (lists,), (width, width)]:
        raise ArtefactError(f"{folder / MOMENT_FILES[0]}: is not of these lists; publish the run again")
    return InvertedIndex(index, moments, TopicLists.load(folder, record, index.parts[0]), tuning)


def _open_fallback(folder: Path, record: dict[str, Any], index: ApproximateIndex) -> ApproximateIndex:
    """Return an index without a tuning for mixtures, with the reason; an older build did not write one."""
    if _FALLBACK_FIELD not in record:
        return index
    try:
        return FallbackIndex(index, MixtureFallback(**record[_FALLBACK_FIELD]))
    except TypeError:
        raise ArtefactError(
            f"{folder / files.DESCRIPTION}: '{_FALLBACK_FIELD}' is damaged; publish the run again"
        ) from None


def _train(table: ItemTable, lists: int, seed: int, progress: Progress) -> Any:  # noqa: ANN401 (FAISS has no types)
    faiss.omp_set_num_threads(1)
    coarse = f"IVF{lists}_HNSW32" if lists >= _GRAPH_FROM_LISTS else f"IVF{lists}"
    inverted: Any = faiss.index_factory(
        table.dimension, f"{coarse},PQ{table.dimension}x4fs", faiss.METRIC_INNER_PRODUCT
    )
    inverted.by_residual = True
    inverted.cp.min_points_per_centroid = 1  # no warning on stderr for small corpora
    inverted.pq.cp.min_points_per_centroid = 1
    points = min(len(table), lists * _TRAINING_POINTS_PER_LIST)
    sample = np.sort(generator(seed, "index", "train").choice(len(table), points, replace=False))
    sample = np.resize(sample, max(points, _CODES))  # fewer vectors than codes are repeated

    progress(0, len(table), "lists")
    inverted.train(np.ascontiguousarray(table.vectors_nD[sample]))
    for start in range(0, len(table), _ADD_BATCH):
        inverted.add(np.ascontiguousarray(table.vectors_nD[start : start + _ADD_BATCH]))
        progress(min(start + _ADD_BATCH, len(table)), len(table), "items")
    return inverted
