"""The best items of a topic for a vector, and the normaliser of the vector within the topic.

A topic of up to ``_WHOLE`` items is scored exactly. The items of a larger one are the codes of an inverted list, with
the mean of the topic as its centroid, and FAISS reads the lists of all vectors of a request in one call. Then the
normaliser is the sum over the best ``_SUMMED`` items, of which the ``_RESCORED`` best are scored by their full vectors.
The rest is taken to be normal, around the mean score of the topic, with the deviation that puts the last of the summed
items at its rank. (Vectors of length 10 and 14, latent or clustered: the log of it is .02 to .04 too low in topics of
7,000 to 16,000 items, with a standard deviation of .01 to .03, and .10 in topics of 100,000.) What it is too low by is
nearly the same for all vectors, so the build measures it on some users, topic by topic, and it is added.

So neither reads the vectors of a topic. (1 M × 64, five topics of 10,000: 0.7 ms; scoring them exactly takes 2.5 from
memory.)

Legend: T topics · Q users · G pairs of a user's vector and a topic · M items of a topic, or the best of them · D
dimensions · S summed items.
"""

from collections.abc import Callable, Iterator, Sequence
from math import erfc, log, sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from multitudes.errors import ArtefactError
from multitudes.index import files
from multitudes.index.approximate import ApproximateSearch, read_engine
from multitudes.index.inverted_lists import InvertedLists
from multitudes.index.item_table import ItemTable, positions_of
from multitudes.index.mixture import MixtureQuery
from multitudes.index.protocol import ANY_TOPIC
from multitudes.index.scan import inner_products, log_sum_exp, paired_inner_products, reached_bound
from multitudes.progress import Progress, silent
from multitudes.seeding import generator

CODES_FILE, TOPICS_FILE, CORRECTION_FILE = "coded_topics.faiss", "coded_topics.npy", "coded_topics_correction.npy"
COUNT_FIELD = "coded_topics"  # of the description of an index; absent in one of an earlier version
_SUMMED = 512  # must not depend on the number of results: the probability of an item does not
# So the last of the summed items is .67 standard deviations above the mean or more. Nearer to it, the deviation that
# puts it there is mostly chance.
_WHOLE = 4 * _SUMMED
_RESCORED = 64  # codes are wrong by a tenth of the deviation of the scores, which the largest ones carry into the sum
_PER_RESULT = 2  # proposals: 4-bit codes misplace some
_PER_RESULT_ALONE = 4  # where no vector brings any item, so that every result is one of them
_PER_EXCLUDED = 2  # proposals more: the deeper, the more items codes misplace
_TRAINING_POINTS = 100_000
_CALIBRATED_ON = 8  # vectors for each topic
_BITS = 4
_ADD_BATCH = 100_000
_MAX_SCORES = 2**20  # of one call of FAISS, or of one product
_NOT_FOUND = -1e38  # FAISS fills with a smaller score
_LARGER_COUNT = 2  # pairs that want so many times as many proposals as others get a call of their own
_faiss: Any = faiss  # its types are incomplete


class TopicProposals(NamedTuple):
    """The best items of a topic for a vector that is restricted to it."""

    column: int  # of the vector in the query
    row_M: NDArray[np.int64]
    score_M: NDArray[np.float32]  # exact or by codes
    log_sum: float  # log normaliser; minus infinity if the topic has no items


class _Pair(NamedTuple):
    """A vector of a user and its topic."""

    user: int
    column: int
    topic: int
    vector_D: NDArray[np.float32]
    wanted: int  # proposals, with those that the user excludes

    def select(self, row_M: NDArray[np.int64], score_M: NDArray[np.float32], log_sum: float) -> TopicProposals:
        """Return the best ``wanted`` rows, or ``_SUMMED`` if those are more, and a few others."""
        count = max(_SUMMED, self.wanted)
        if count < len(row_M):
            best_M = np.flatnonzero(score_M >= reached_bound(score_M, count))
            row_M, score_M = row_M[best_M], score_M[best_M]
        return TopicProposals(self.column, row_M, score_M, log_sum)


class TopicLists:
    """The codes of the items of topics, a list for each topic."""

    def __init__(
        self, lists: InvertedLists | None, topic_T: NDArray[np.int64], correction_T: NDArray[np.float64] | None = None
    ) -> None:
        """Take inverted lists, the topic of each of them, and what is added to its log normalisers.

        Args:
            lists: None: no topic has codes.
            topic_T: the topic of each list.
            correction_T: None: nothing was measured.
        """
        self.lists, self.topic_T = lists, topic_T
        self.correction_T = np.zeros(len(topic_T)) if correction_T is None else correction_T
        self.number_of = {topic: number for number, topic in enumerate(topic_T.tolist())}

    @classmethod
    def build(
        cls, table: ItemTable, is_proposed: Callable[[int], bool], seed: int, progress: Progress = silent
    ) -> Self:
        """Encode the topics of more than ``_WHOLE`` items for which ``is_proposed`` is true."""
        topic_T, size_T = table.postings.topic_T, np.diff(table.postings.offset)
        topic_T = np.array([topic for topic in topic_T[size_T > _WHOLE].tolist() if is_proposed(topic)], dtype=np.int64)
        if len(topic_T) == 0:
            return cls(None, topic_T)
        rows_T = [table.postings.rows(topic) for topic in topic_T.tolist()]
        return cls(InvertedLists(_encode(table, rows_T, seed, progress)), topic_T)

    def calibrate(self, search: ApproximateSearch, queries: Sequence[MixtureQuery]) -> Self:
        """Return the same lists, with the mean error of the log normalisers of some users in each topic.

        A topic that none of them follows gets the mean of the others.
        """
        error_T: list[list[float]] = [[] for _ in self.topic_T]
        for topic, pairs in _pairs_of_topic(search.table, queries, self.number_of.__contains__).items():
            number, items = self.number_of[topic], search.live_items(topic)
            asked = [_CodedPair(pair, number, items) for pair in pairs[:_CALIBRATED_ON]]
            item_MD = search.table.vectors_at(search.table.postings.rows(topic))
            for own, found in zip(asked, _search_codes(search, self, asked), strict=True):
                if found is not None:
                    exact = float(log_sum_exp(inner_products(own.pair.vector_D[None], item_MD))[0])
                    error_T[number].append(exact - found.log_sum)
        known = [float(np.mean(errors)) for errors in error_T if errors]
        usual = float(np.mean(known)) if known else 0.0
        correction_T = np.array([float(np.mean(errors)) if errors else usual for errors in error_T])
        return type(self)(self.lists, self.topic_T, self.correction_T + correction_T)

    @classmethod
    def load(cls, folder: Path, record: dict[str, Any], table: ItemTable) -> Self:
        """Open the codes of a verified folder; ``record``, its description, says whether there are any.

        Raises:
            ArtefactError: the codes are damaged or not of this table.
        """
        if not record.get(COUNT_FIELD):
            return cls(None, np.zeros(0, dtype=np.int64))
        path, topic_T = folder / CODES_FILE, files.read_array(folder / TOPICS_FILE, np.int64, 1)
        lists, (_, width) = read_engine(path, lambda file: InvertedLists(faiss.read_index(file)))
        expected = [len(table.postings.rows(topic)) for topic in topic_T.tolist()]
        if width != table.dimension or lists.sizes.tolist() != expected:
            raise ArtefactError(f"{path}: is not of these topics; publish the run again")
        if CORRECTION_FILE not in record["files"]:  # an earlier version measured none
            return cls(lists, np.array(topic_T))
        correction_T = files.read_array(folder / CORRECTION_FILE, np.float64, 1)
        if len(correction_T) != len(topic_T) or not np.isfinite(correction_T).all():
            raise ArtefactError(f"{folder / CORRECTION_FILE}: is not of these topics; publish the run again")
        return cls(lists, np.array(topic_T), np.array(correction_T))

    def save(self, folder: Path) -> None:
        """Write the codes into ``folder``, if there are any."""
        if self.lists is not None:
            self.lists.write(folder / CODES_FILE)
            np.save(folder / TOPICS_FILE, self.topic_T, allow_pickle=False)
            np.save(folder / CORRECTION_FILE, self.correction_T, allow_pickle=False)


def _encode(table: ItemTable, rows_T: Sequence[NDArray[np.int32]], seed: int, progress: Progress) -> Any:  # noqa: ANN401 (FAISS has no types)
    """Return inverted lists of FAISS with the codes of the rows of each list."""
    faiss.omp_set_num_threads(1)
    mean_TD = np.stack([table.vectors_at(rows).mean(axis=0) for rows in rows_T])
    row_M = np.concatenate(rows_T).astype(np.int64)
    list_M = np.repeat(np.arange(len(rows_T)), [len(rows) for rows in rows_T])
    quantizer = faiss.IndexFlatIP(table.dimension)
    quantizer.add(mean_TD)
    slow = _faiss.IndexIVFPQ(
        quantizer, table.dimension, len(mean_TD), table.dimension, _BITS, faiss.METRIC_INNER_PRODUCT
    )
    slow.by_residual = True
    slow.pq.cp.min_points_per_centroid = 1  # no warning on stderr
    points = min(len(row_M), _TRAINING_POINTS)
    drawn = np.sort(generator(seed, "index", "topic codes").choice(len(row_M), points, replace=False))
    slow.pq.train(np.ascontiguousarray(table.vectors_at(row_M[drawn]) - mean_TD[list_M[drawn]]))
    slow.is_trained = True
    for start in range(0, len(row_M), _ADD_BATCH):
        # FAISS adds to lists that are given only where codes are not yet arranged for the fast scan.
        rows, numbers = (np.ascontiguousarray(array[start : start + _ADD_BATCH]) for array in (row_M, list_M))
        item_MD = table.vectors_at(rows)
        slow.add_core(len(rows), faiss.swig_ptr(item_MD), faiss.swig_ptr(rows), faiss.swig_ptr(numbers))
        progress(min(start + _ADD_BATCH, len(row_M)), len(row_M), "items of topics")
    return _faiss.IndexIVFPQFastScan(slow)


def propose_of_topics(
    search: ApproximateSearch,
    topic_lists: TopicLists,
    queries: Sequence[MixtureQuery],
    is_proposed: Callable[[int], bool],
) -> list[list[TopicProposals]]:
    """Return for each query the best items of its topics, with as many more as it excludes.

    Args:
        search: of the items; it says which rows are left out.
        topic_lists: the codes of the large topics; one without codes is scored exactly, whatever its size.
        queries: one for each user.
        is_proposed: says of a topic whether its items are asked for.
    """
    found: list[list[TopicProposals]] = [[] for _ in queries]
    coded = list[_CodedPair]()
    for topic, pairs in _pairs_of_topic(search.table, queries, is_proposed).items():
        number = topic_lists.number_of.get(topic)
        if number is not None and (items := search.live_items(topic)) > _WHOLE:
            coded += [_CodedPair(pair, number, items) for pair in pairs]
        else:
            _add_exact(found, search, topic, pairs)
    for chunk in _calls(coded):
        for own, proposals in zip(chunk, _search_codes(search, topic_lists, chunk), strict=True):
            if proposals is None:
                _add_exact(found, search, own.pair.topic, [own.pair])
            else:
                found[own.pair.user].append(proposals)
    return found


def _pairs_of_topic(
    table: ItemTable, queries: Sequence[MixtureQuery], is_proposed: Callable[[int], bool]
) -> dict[int, list[_Pair]]:
    pairs_of_topic = dict[int, list[_Pair]]()
    for u, query in enumerate(queries):
        column_T = np.flatnonzero(query.topic_K != ANY_TOPIC)
        if len(column_T) == 0:
            continue
        topic_T = query.topic_K[column_T]
        is_alone = not ((query.topic_K == ANY_TOPIC) & (query.log_share_K > -np.inf)).any()
        excluded_T = table.have_topics(table.rows_of_ids(query.excluded), topic_T).sum(axis=1)
        wanted_T = query.n * (_PER_RESULT_ALONE if is_alone else _PER_RESULT) + _PER_EXCLUDED * excluded_T
        for k, topic, wanted in zip(column_T.tolist(), topic_T.tolist(), wanted_T.tolist(), strict=True):
            if is_proposed(topic):
                pairs_of_topic.setdefault(topic, []).append(_Pair(u, k, topic, query.vectors_KD[k], wanted))
    return pairs_of_topic


def _add_exact(
    found: list[list[TopicProposals]], search: ApproximateSearch, topic: int, pairs: Sequence[_Pair]
) -> None:
    """Score the items of a topic for each of the vectors, and add the best of them to ``found``."""
    row_M = search.table.postings.rows(topic)
    kept_M = np.ones(len(row_M), dtype=np.bool_)
    kept_M[positions_of(row_M, search.tombstones.row_E)] = False
    if not kept_M.any():
        return
    # The cache is for large topics; it would only grow with the small ones.
    item_MD = search.table.vectors_at(row_M) if len(row_M) <= _WHOLE else search.topic_vectors(topic)
    if not kept_M.all():
        row_M, item_MD = row_M[kept_M], item_MD[kept_M]
    step = max(1, _MAX_SCORES // len(row_M))
    for start in range(0, len(pairs), step):
        chunk = pairs[start : start + step]
        score_GM = inner_products(np.stack([pair.vector_D for pair in chunk]), item_MD)
        for pair, score_M, log_sum in zip(chunk, score_GM, log_sum_exp(score_GM).tolist(), strict=True):
            found[pair.user].append(pair.select(row_M.astype(np.int64), score_M, log_sum))


class _CodedPair(NamedTuple):
    """A vector, and the list of codes of its topic."""

    pair: _Pair
    number: int
    items: int  # that are not left out

    @property
    def wanted(self) -> int:
        """The number of codes to find."""
        return max(_SUMMED, min(self.pair.wanted, self.items))


def _calls(coded: Sequence[_CodedPair]) -> Iterator[list[_CodedPair]]:
    """Yield groups of pairs that want about as many proposals, since FAISS finds the same number for all of a call."""
    chunk = list[_CodedPair]()
    for own in sorted(coded, key=lambda own: own.wanted):
        is_large = (len(chunk) + 1) * own.wanted > _MAX_SCORES
        if chunk and (is_large or own.wanted > _LARGER_COUNT * chunk[0].wanted):
            yield chunk
            chunk = []
        chunk.append(own)
    if chunk:
        yield chunk


def _search_codes(
    search: ApproximateSearch, topic_lists: TopicLists, asked: Sequence[_CodedPair]
) -> Iterator[TopicProposals | None]:
    """Yield the best codes of a list for each vector; None: its codes cannot be told apart."""
    lists = topic_lists.lists
    assert lists is not None
    vectors_GD = np.stack([own.pair.vector_D for own in asked])
    list_G = np.array([own.number for own in asked])
    pair_of_list = (np.arange(len(list_G)), np.zeros(len(list_G), dtype=np.int64), list_G)
    row_GM, score_GM = lists.search_pairs(vectors_GD, pair_of_list, asked[-1].wanted, search.tombstones.allowed_bits)
    # FAISS finds nothing for a vector under which all codes score the same.
    is_scored_G = (score_GM > _NOT_FOUND).sum(axis=1) >= _SUMMED
    # Whatever ties with the last of them is rescored too: which one of those it is depends on the number of proposals.
    last_G = np.partition(score_GM, -_RESCORED, axis=1)[:, -_RESCORED]
    g_B, m_B = np.nonzero((score_GM >= last_G[:, None]) & (row_GM >= 0))
    score_GM[g_B, m_B] = paired_inner_products(vectors_GD[g_B], search.table.vectors_at(row_GM[g_B, m_B]))
    log_sum_G = log_sums_of_best(score_GM, lists.centroid_scores(vectors_GD, list_G), [own.items for own in asked])
    for own, row_M, score_M, estimate, is_scored in zip(asked, row_GM, score_GM, log_sum_G, is_scored_G, strict=True):
        is_found_M, log_sum = row_M >= 0, estimate + float(topic_lists.correction_T[own.number])
        yield own.pair.select(row_M[is_found_M], score_M[is_found_M], log_sum) if is_scored else None


def log_sums_of_best(score_GM: NDArray[np.float32], mean_G: NDArray[np.float32], items_G: Sequence[int]) -> list[float]:
    """Return the log normalisers of vectors within their topics.

    Args:
        score_GM: of the best items, in any order; ``_SUMMED`` or more of each topic.
        mean_G: the mean score of all items of the topic.
        items_G: the number of items of the topic; more than ``_WHOLE``.
    """
    best_GS = np.partition(score_GM, -_SUMMED, axis=1)[:, -_SUMMED:]
    log_best_G, last_G = log_sum_exp(best_GS).tolist(), best_GS[:, 0].tolist()
    return [
        float(np.logaddexp(log_best, _log_sum_of_rest(last, mean, items)))
        for log_best, last, mean, items in zip(log_best_G, last_G, mean_G.tolist(), items_G, strict=True)
    ]


def _log_sum_of_rest(last: float, mean: float, items: int) -> float:
    """Return log Σ exp(score) over all but the best ``_SUMMED`` scores, as if all scores were normal.

    Args:
        last: the least of the best scores.
        mean: of all scores.
        items: number of scores.
    """
    most = log(items - _SUMMED) + last  # if all were as large as the last one
    height = NormalDist().inv_cdf(1 - _SUMMED / items)
    deviation = (last - mean) / height
    if deviation <= 0:
        return most
    share_below = erfc((deviation - height) / sqrt(2)) / 2  # of the normal distribution that exp(score) shifts
    if share_below == 0:
        return most
    return min(most, log(items) + mean + deviation**2 / 2 + log(share_below))
