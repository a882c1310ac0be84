"""The levels at which an approximate index is searched: the least effort for each depth that reaches the recall.

Few results need little effort and many need much, so a request that divides its limit among many vectors pays less for
each. The effort of a depth is the least whose recall reaches the target with 95 % confidence on half of the queries.
The other half measures the recall of the result. No query is an item of the index.

Legend: Q queries · W queries to search now · n items · D dimensions · M proposals.
"""

import functools
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.index.item_table import ItemTable, as_float32
from multitudes.index.protocol import Hits
from multitudes.index.scan import scan
from multitudes.index.search_depth import ScoreDistribution
from multitudes.progress import Progress, silent
from multitudes.seeding import generator

_MAX_RATIO, _FEW_QUERIES = 12, 128  # up to so many queries, levels share a call while proposals differ by this ratio
_QUERIES_PER_CALL = 256  # what FAISS keeps of each query stays in the cache (2,048 take a tenth longer)
_QUERIES = 256  # to tune on; the same number of others for validation
_MIN_DEPTH = 10  # the least depth that is tuned
_SCREENING_QUERIES = 32  # enough to see that no effort reaches the target
_MIN_PROPOSAL_CAP = 1_000  # proposals worth trying, however few the items
_RERANK_BUDGET = 2_000_000  # vectors rescored in one measurement: deep results are measured on fewer queries
_ONE_SIDED = 1.645  # standard errors below the mean: 95 % confidence


class RecallTarget(NamedTuple):
    """The recall that an index is tuned to."""

    recall: float  # share of the exact answer that a search finds
    deepest: int  # up to this many results, filtered ones included; deeper searches are scans
    scanned: int  # topics of up to this many items are scanned


DEFAULT_TARGET = RecallTarget(recall=0.97, deepest=10_000, scanned=1_000)


class Level(NamedTuple):
    """The search parameters for ``depth`` results, and the recall measured with them."""

    depth: int
    effort: int  # nprobe of inverted lists
    proposals: int  # candidates that are rescored with their full vectors
    recall: float  # on the queries used for tuning
    at_least: float  # lower bound of that recall, 95 % confidence
    checked: float  # recall on the queries held out from tuning
    height: float = 0.0  # standard deviations of the last exact result above the mean score


class QueryLevels(NamedTuple):
    """The levels of Q queries, as columns."""

    depth_Q: NDArray[np.int64]
    effort_Q: NDArray[np.int64]
    proposals_Q: NDArray[np.int64]

    @classmethod
    def from_levels(cls, level_Q: Sequence[Level]) -> "QueryLevels":
        """Return the levels of the queries as columns."""
        return cls(*np.array([(level.depth, level.effort, level.proposals) for level in level_Q], dtype=np.int64).T)


class Tuning(NamedTuple):
    """The levels of an engine, by depth, and how they were measured."""

    levels: tuple[Level, ...]
    target: RecallTarget
    tuned_on: str
    queries: int
    checked_on: int  # queries
    topic_recall: float | None = None  # by the codes of the largest topics; None: topics are scanned

    def heights(self) -> list[tuple[float, float]]:
        """Return the logarithms of the tuned depths, each with the height of its last result."""
        return [(float(np.log(level.depth)), level.height) for level in self.levels]

    def level_positions(self, depth_Q: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the index of the first level that is deep enough; ``len(levels)`` if none is."""
        return np.searchsorted([level.depth for level in self.levels], depth_Q)

    def levels_for(self, depth_Q: NDArray[np.int64]) -> QueryLevels:
        """Return the first level that is deep enough for each query; there must be one."""
        return QueryLevels.from_levels([self.levels[i] for i in self.level_positions(depth_Q).tolist()])

    def group_queries(
        self, depth_Q: NDArray[np.int64], pending_W: NDArray[np.int64]
    ) -> Iterator[tuple[QueryLevels | None, NDArray[np.int64]]]:
        """Group queries into engine calls.

        In one call an engine reads a list once for all queries that probe it, but reserves as many proposals for each
        query as for the one with the most. So a few queries share a call if their proposals are similar in number. Many
        queries probe the same lists anyway, so their levels get a call each.

        Yields:
            The levels of a group of the pending queries, and the group; None for those deeper than every level.
        """
        position_W = self.level_positions(depth_Q[pending_W])
        max_ratio = _MAX_RATIO if len(position_W) <= _FEW_QUERIES else 1
        proposals = [level.proposals for level in self.levels]
        calls: list[list[int]] = []
        for position in sorted(set(position_W.tolist())):
            if calls and position < len(proposals) and proposals[position] <= max_ratio * proposals[calls[-1][0]]:
                calls[-1].append(position)
            else:
                calls.append([position])
        for positions in calls:
            in_call = np.flatnonzero((position_W >= positions[0]) & (position_W <= positions[-1]))
            for start in range(0, len(in_call), _QUERIES_PER_CALL):
                batch = in_call[start : start + _QUERIES_PER_CALL]
                is_tuned = positions[0] < len(self.levels)
                levels = QueryLevels.from_levels([self.levels[i] for i in position_W[batch]]) if is_tuned else None
                yield levels, pending_W[batch]

    def to_record(self) -> dict[str, Any]:
        """Return the tuning as JSON values."""
        record = self._asdict() | {"levels": [level._asdict() for level in self.levels]}
        return record | {"promise": record.pop("target")._asdict()}


def tuning_from_record(record: dict[str, Any]) -> Tuning:
    """Return the tuning that ``Tuning.to_record`` wrote.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it did not write this.
    """
    levels = tuple(Level(**level) for level in record["levels"])
    numbers = np.array([level[:3] for level in levels]).reshape(-1, 3)  # depth, effort, proposals
    if levels and (numbers.dtype.kind != "i" or numbers.min() < 0 or (np.diff(numbers[:, 0]) <= 0).any()):
        raise ValueError("levels do not ascend")
    target, recall = RecallTarget(**record["promise"]), record["topic_recall"]
    known = record | {"levels": levels, "target": target, "topic_recall": None if recall is None else float(recall)}
    return Tuning(**{name: known[name] for name in Tuning._fields})


class Sample(NamedTuple):
    """User vectors that are not in the index."""

    tuning_QD: NDArray[np.float32]
    validation_QD: NDArray[np.float32]
    name: str


def sample_queries(queries: NDArray[np.float32] | None, table: ItemTable, seed: int) -> Sample:
    """Draw the queries for tuning and validation.

    Without ``queries``, items with added noise replace them, and the name of the sample states it: these are closer to
    their neighbours than users are, so the recall for users may be lower.
    """
    if queries is None or len(queries) < 2:
        drawn_QD, name = _noisy_items(table, seed), "items with noise"
    else:
        # A random order, because the first users differ from the others.
        drawn = generator(seed, "index", "tuning queries").permutation(len(queries))[: 2 * _QUERIES]
        drawn_QD, name = as_float32(queries[drawn], "a query"), "queries"
    half = (len(drawn_QD) + 1) // 2
    return Sample(drawn_QD[:half], drawn_QD[half:], name)


def _noisy_items(table: ItemTable, seed: int) -> NDArray[np.float32]:
    """Return items, each plus noise of its own length; at least two."""
    rng = generator(seed, "index", "tune")
    base_QD = table.vectors_nD[rng.choice(len(table), 2 * min(len(table), _QUERIES), replace=len(table) < 2 * _QUERIES)]
    noise_QD = rng.standard_normal(base_QD.shape, dtype=np.float32)
    length_Q1 = np.linalg.norm(base_QD, axis=1, keepdims=True) / np.sqrt(table.dimension)
    return np.asarray(base_QD + noise_QD * length_Q1, dtype=np.float32)


SearchAtLevel = Callable[[NDArray[np.float32], Level], Hits]  # queries (Q, D) and their level → hits


class ParameterGrid(NamedTuple):
    """The parameters that tuning chooses from; see ``InvertedLists``."""

    efforts: Sequence[int]
    proposals: Callable[[int], Sequence[int]]


def tune(
    grid: ParameterGrid,
    search: SearchAtLevel,
    table: ItemTable,
    sample: Sample,
    target: RecallTarget,
    progress: Progress = silent,
) -> Tuning:
    """Return the levels of least effort at which ``search`` finds enough in all items.

    A depth that no effort reaches has no level: a deeper level serves it, or a scan.
    """
    depths = tuned_depths(min(target.deepest, max(_MIN_DEPTH, len(table) // 10), len(table)))
    progress(0, len(depths), "exact answers")
    truth, validation_truth = (
        table.rows_to_ids(scan(query_QD, np.arange(len(table)), table.vectors_nD, depths[-1]))
        for query_QD in (sample.tuning_QD, sample.validation_QD)
    )
    levels: list[Level] = []
    mean_Q, deviation_Q = ScoreDistribution(table).mean_and_deviation(sample.tuning_QD)
    start = 0
    for i, depth in enumerate(depths):
        progress(i, len(depths), f"depth {depth:,}")
        trial = _Trial(search, sample.tuning_QD, truth, depth, target.recall)
        least = _least_effort(trial, grid, start, len(table))
        if least is None:
            continue
        start, level = least
        recall_Q = _recalls(search, sample.validation_QD, validation_truth, level)
        height = float(((truth.score_QN[:, depth - 1] - mean_Q) / deviation_Q).mean())
        levels.append(level._replace(checked=round(float(recall_Q.mean()), 4), height=round(height, 4)))
    return Tuning(tuple(levels), target, sample.name, len(sample.tuning_QD), len(sample.validation_QD))


def tuned_depths(deepest: int) -> list[int]:
    """Return the depths that are tuned: 10, 20, 50, 100, … and ``deepest``."""
    steps = [step * _MIN_DEPTH * 10**power for power in range(12) for step in (1, 2, 5)]
    return [*(step for step in steps if step < deepest), deepest]


class _Trial(NamedTuple):
    """Measures parameters at one depth."""

    search: SearchAtLevel
    query_QD: NDArray[np.float32]
    truth: Hits
    depth: int
    required: float

    def measure(self, effort: int, proposals: int) -> Level:
        """Return a level with its recall."""
        level = Level(self.depth, effort, proposals, 0.0, 0.0, 0.0)
        recall_Q = _recalls(self.search, self.query_QD, self.truth, level)
        mean, error = float(recall_Q.mean()), float(recall_Q.std()) / max(1, len(recall_Q)) ** 0.5
        return level._replace(recall=round(mean, 4), at_least=round(mean - _ONE_SIDED * error, 4))

    def is_sufficient(self, level: Level) -> bool:
        """Return whether the recall of a level is high enough."""
        return level.at_least >= self.required


def _least_effort(trial: _Trial, grid: ParameterGrid, start: int, items: int) -> tuple[int, Level] | None:
    """Return the position of the least effort that reaches the recall, searched from ``start``, and its level."""
    screening = trial._replace(query_QD=trial.query_QD[:_SCREENING_QUERIES])
    for proposals in (min(items, count) for count in grid.proposals(trial.depth)):
        if proposals > max(_MIN_PROPOSAL_CAP, items // 5):
            break  # a scan is as fast
        if screening.measure(grid.efforts[-1], proposals).recall < trial.required:
            continue  # no effort makes up for what codes lose, but more proposals may
        position, level = _first_sufficient(trial, grid.efforts, start, proposals)
        if trial.is_sufficient(level):
            return position, level
    return None


def _first_sufficient(trial: _Trial, efforts: Sequence[int], start: int, proposals: int) -> tuple[int, Level]:
    """Return the first position that reaches the recall, searched from ``start``; the last if none does."""
    level_at = functools.cache(lambda position: trial.measure(efforts[position], proposals))
    low, high, step = 0, start, 1  # double the steps first: the large efforts are the slow ones
    while high < len(efforts) - 1 and not trial.is_sufficient(level_at(high)):
        low, high, step = high + 1, min(len(efforts) - 1, high + step), 2 * step
    position = low + bisect_left(range(low, high), True, key=lambda position: trial.is_sufficient(level_at(position)))
    return position, level_at(position)


def _recalls(search: SearchAtLevel, query_QD: NDArray[np.float32], truth: Hits, level: Level) -> NDArray[np.float64]:
    """Return the share of its exact answer that each query finds."""
    measured = slice(0, max(32, _RERANK_BUDGET // level.proposals))
    hits = search(query_QD[measured], level)
    return np.array(
        [
            np.isin(truth.id_QN[q, : level.depth], hits.id_QN[q], assume_unique=True).mean()
            for q in range(len(hits.count_Q))
        ]
    )
