"""How hard an approximate engine has to try for so many results: measured when it is built, depth by depth.

Legend: Q queries · n items · D dimensions · M proposals.

Few results need little effort and many need much, so a request that divides its places among many vectors pays less
for each. The effort of a depth is the least whose recall reaches what was asked, with 95 % confidence, on half of the
queries; the other half says what it came to. None of the queries is in the index.
"""

import functools
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from multitudes.index.item_table import ItemTable, as_float32
from multitudes.index.protocol import Hits
from multitudes.index.scan import scan_in_blocks
from multitudes.index.score_distribution import ScoreDistribution
from multitudes.progress import Progress, silent
from multitudes.seeding import generator

_QUERIES = 256  # on which a depth is tuned; as many more check it
_MIN_DEPTH = 10  # the least depth that is tuned; above a tenth of the corpus a scan is as fast
_SCREENING_QUERIES = 32  # queries on which it is seen that no effort is enough
_MIN_PROPOSAL_CAP = 1_000  # proposals, however few the items
_RERANK_BUDGET = 2_000_000  # vectors in one measurement: deep results are measured on fewer queries
_SIMILAR, _FEW = 12, 128  # times as many proposals in one call; of so many queries
_QUERIES_PER_CALL = 256  # queries in a call: what FAISS keeps of each stays in the cache (2,048 take a tenth longer)
_ONE_SIDED = 1.645  # standard errors below the mean: 95 % confidence


class RecallTarget(NamedTuple):
    """What an index is tuned to."""

    recall: float  # share of the exact answer that a search finds
    deepest: int  # up to so many results, what is filtered out included; deeper searches are scans
    scanned: int  # topics of up to so many items are scanned


DEFAULT_TARGET = RecallTarget(recall=0.97, deepest=10_000, scanned=100_000)


class Level(NamedTuple):
    """What it takes to find ``depth`` results."""

    depth: int
    effort: int  # lists to probe, or the width of the walk through a graph
    proposals: int  # candidates that are ranked by their full vectors
    recall: float  # on the queries that were tuned on
    at_least: float  # with 95 % confidence
    checked: float  # recall on the queries that were held out from tuning
    height: float | None = None  # standard deviations that the last of the exact results stands above the mean score


class TopicLevel(NamedTuple):
    """How a topic of more items than are scanned is searched."""

    topic: int
    items: int
    recall: float  # of the search, on queries that were held out from tuning
    scanned: bool  # since that recall is too low


class QueryLevels(NamedTuple):
    """How each of Q queries is searched: what its level says."""

    depth_Q: NDArray[np.int64]
    effort_Q: NDArray[np.int64]
    proposals_Q: NDArray[np.int64]

    @classmethod
    def from_levels(cls, level_Q: Sequence[Level]) -> "QueryLevels":
        """Return the levels of the queries as columns."""
        return cls(*np.array([(level.depth, level.effort, level.proposals) for level in level_Q], dtype=np.int64).T)


class Tuning(NamedTuple):
    """The levels of an engine, the shallowest first, and on what they were measured."""

    levels: tuple[Level, ...]
    promise: RecallTarget
    tuned_on: str
    queries: int
    checked_on: int  # queries
    topics: tuple[TopicLevel, ...] = ()

    def level_positions(self, depth_Q: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the place of the level that is deep enough; behind the last where none is."""
        return np.searchsorted([level.depth for level in self.levels], depth_Q)

    def group_queries(
        self, depth_Q: NDArray[np.int64], waiting_W: NDArray[np.int64]
    ) -> Iterator[tuple["QueryLevels | None", NDArray[np.int64]]]:
        """Yield queries that are searched in one call, at most so many, and how; None where no level is deep enough.

        An engine reads once what several queries of a call look at, but makes room for as many proposals of each as of
        the one that has most. Many queries look at the same things anyway.
        """
        at_W = self.level_positions(depth_Q[waiting_W])
        times = _SIMILAR if len(at_W) <= _FEW else 1
        calls: list[list[int]] = []
        for at in sorted(set(at_W.tolist())):
            known = at < len(self.levels)
            if calls and known and self.levels[at].proposals <= times * self.levels[calls[-1][0]].proposals:
                calls[-1].append(at)
            else:
                calls.append([at])
        for places in calls:
            chosen = np.flatnonzero((at_W >= places[0]) & (at_W <= places[-1]))
            for start in range(0, len(chosen), _QUERIES_PER_CALL):
                some = chosen[start : start + _QUERIES_PER_CALL]
                walk = (
                    QueryLevels.from_levels([self.levels[at] for at in at_W[some]])
                    if places[0] < len(self.levels)
                    else None
                )
                yield walk, waiting_W[some]

    def scans_topic(self, topic: int, items: int) -> bool:
        """Say whether a topic of so many items is scanned."""
        return items <= self.promise.scanned or any(one.scanned for one in self.topics if one.topic == topic)

    def to_record(self) -> dict[str, Any]:
        """Return the same as JSON has it."""
        return {
            **self._asdict(),
            "levels": [level._asdict() for level in self.levels],
            "promise": self.promise._asdict(),
            "topics": [topic._asdict() for topic in self.topics],
        }


def tuning_from_record(record: dict[str, Any]) -> Tuning:
    """Return what ``Tuning.record`` returned."""
    return Tuning(
        tuple(Level(**level) for level in record["levels"]),
        RecallTarget(**record["promise"]),
        record["tuned_on"],
        record["queries"],
        record["checked_on"],
        tuple(TopicLevel(**topic) for topic in record["topics"]),
    )


class Sample(NamedTuple):
    """User vectors that are not in the index."""

    tuning_QD: NDArray[np.float32]
    validation_QD: NDArray[np.float32]  # held out from tuning
    name: str


def sample_queries(queries: NDArray[np.float32] | None, rows: ItemTable, seed: int) -> Sample:
    """Draw the queries to tune and to check on.

    Without any, items with added noise stand in, and the name says so: they sit closer to their neighbours than users
    do, so the recall for users may be lower.
    """
    if queries is None or len(queries) < 2:
        drawn_QD, name = _noisy_items(rows, seed), "items with noise"
    else:
        # The first users are not like the others.
        drawn = generator(seed, "index", "tuning queries").permutation(len(queries))[: 2 * _QUERIES]
        drawn_QD, name = as_float32(queries[drawn], "a query"), "queries"
    half = (len(drawn_QD) + 1) // 2
    return Sample(drawn_QD[:half], drawn_QD[half:], name)


def _noisy_items(rows: ItemTable, seed: int) -> NDArray[np.float32]:
    """Return stand-in queries: items, each moved by noise as long as itself; no fewer than two."""
    rng = generator(seed, "index", "tune")
    base_QD = rows.vectors_nD[rng.choice(len(rows), 2 * min(len(rows), _QUERIES), replace=len(rows) < 2 * _QUERIES)]
    noise_QD = rng.standard_normal(base_QD.shape, dtype=np.float32)
    length_Q1 = np.linalg.norm(base_QD, axis=1, keepdims=True) / np.sqrt(rows.dimension)
    return np.asarray(base_QD + noise_QD * length_Q1, dtype=np.float32)


class Engine(Protocol):
    """Proposes candidates; how well depends on the effort."""

    def efforts(self) -> Sequence[int]:
        """Return the efforts to try, ascending."""
        ...

    def proposals(self, depth: int) -> Sequence[int]:
        """Return the numbers of proposals to try for so many results, ascending.

        What the codes misplace lies just below the last result: the coarser they are, the more there is of it.
        """
        ...

    def propose(
        self,
        query_QD: NDArray[np.float32],
        walk: QueryLevels,
        wanted_Q: NDArray[np.int64],
        among: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.int64]:
        """Return the rows of each query's best ``wanted_Q`` candidates (Q, M), once each, in any order; −1 for no more.

        They are ``among`` some, named by a bit for each row from the lowest of the first byte on. Neither that nor how
        many are wanted changes which part of the corpus is looked at: that is the walk's. What a query gets does not
        depend on the others.
        """
        ...


SearchAtLevel = Callable[[NDArray[np.float32], Level], Hits]  # queries, and the level to search them at


class ParameterGrid(NamedTuple):
    """What a level is chosen from; see ``Engine``."""

    efforts: Sequence[int]
    proposals: Callable[[int], Sequence[int]]


def tune(
    choice: ParameterGrid,
    ranked: SearchAtLevel,
    rows: ItemTable,
    some: Sample,
    promise: RecallTarget,
    progress: Progress = silent,
) -> Tuning:
    """Find the least effort for each depth.

    Args:
        choice: of efforts and proposals.
        ranked: searches all items at a level.
        rows: the items.
        some: queries to tune and to check on.
        promise: what is to be reached.
        progress: told before each depth.
    """
    wanted = tuned_depths(min(promise.deepest, max(_MIN_DEPTH, len(rows) // 10), len(rows)))
    truth, check = (
        scan_in_blocks(part_QD, rows.ids, rows.vectors_nD, wanted[-1], progress)
        for part_QD in (some.tuning_QD, some.validation_QD)
    )
    levels: list[Level] = []
    mean_Q, deviation_Q = ScoreDistribution(rows).mean_and_deviation(some.tuning_QD)
    start = 0
    for place, depth in enumerate(wanted):
        progress(place, len(wanted), f"depth {depth:,}")
        found = _least_effort(_Trial(ranked, some.tuning_QD, truth, depth, promise.recall), choice, start, len(rows))
        if found is None:
            continue  # a deeper level serves this depth too, and a scan where none is left
        start, level = found
        shares_Q = _recalls(ranked, some.validation_QD, check, level)
        height = float(((truth.score_QN[:, depth - 1] - mean_Q) / deviation_Q).mean())
        levels.append(level._replace(checked=round(float(shares_Q.mean()), 4), height=round(height, 4)))
    return Tuning(tuple(levels), promise, some.name, len(some.tuning_QD), len(some.validation_QD))


def tuned_depths(deepest: int) -> list[int]:
    """Return the depths that are tuned: 10, 20, 50, 100, … and ``deepest``."""
    steps = [step * _MIN_DEPTH * 10**power for power in range(12) for step in (1, 2, 5)]
    return [*(step for step in steps if step < deepest), deepest]


class _Trial(NamedTuple):
    """Measures one depth."""

    search: SearchAtLevel
    query_QD: NDArray[np.float32]
    truth: Hits
    depth: int
    required: float

    def measure(self, effort: int, proposals: int) -> Level:
        """Return a level with its recall."""
        level = Level(self.depth, effort, proposals, 0.0, 0.0, 0.0)
        share_Q = _recalls(self.search, self.query_QD, self.truth, level)
        mean, error = float(share_Q.mean()), float(share_Q.std()) / max(1, len(share_Q)) ** 0.5
        return level._replace(recall=round(mean, 4), at_least=round(mean - _ONE_SIDED * error, 4))

    def reaches(self, level: Level) -> bool:
        """Say whether a level is good enough."""
        return level.at_least >= self.required


def _least_effort(trial: _Trial, choice: ParameterGrid, start: int, items: int) -> tuple[int, Level] | None:
    """Return the place of the least effort that reaches the recall, looked for from ``start`` on, and its level."""
    few = trial._replace(query_QD=trial.query_QD[:_SCREENING_QUERIES])
    for proposals in (min(items, wanted) for wanted in choice.proposals(trial.depth)):
        if proposals > max(_MIN_PROPOSAL_CAP, items // 5):
            break  # a scan is as fast
        if few.measure(choice.efforts[-1], proposals).recall < trial.required:
            continue  # no effort makes up for what codes or graph lose, but more proposals may
        place, level = _first_sufficient(trial, choice.efforts, start, proposals)
        if trial.reaches(level):
            return place, level
    return None


def _first_sufficient(trial: _Trial, efforts: Sequence[int], start: int, proposals: int) -> tuple[int, Level]:
    """Return the first place that reaches the recall, looked for from ``start`` on; the last place where none does."""
    level = functools.cache(lambda place: trial.measure(efforts[place], proposals))
    low, high, step = 0, start, 1  # by strides first: the great efforts are the slow ones
    while high < len(efforts) - 1 and not trial.reaches(level(high)):
        low, high, step = high + 1, min(len(efforts) - 1, high + step), 2 * step
    place = low + bisect_left(range(low, high), True, key=lambda place: trial.reaches(level(place)))
    return place, level(place)


def _recalls(ranked: SearchAtLevel, query_QD: NDArray[np.float32], truth: Hits, level: Level) -> NDArray[np.float64]:
    """Return the share of its exact answer that each query finds."""
    some = slice(0, max(32, _RERANK_BUDGET // level.proposals))
    found = ranked(query_QD[some], level)
    return np.array(
        [
            np.isin(truth.id_QN[q, : level.depth], found.id_QN[q], assume_unique=True).mean()
            for q in range(len(found.count_Q))
        ]
    )
