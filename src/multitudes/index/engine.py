"""The seam between approximate search and an engine that proposes candidates.

An engine gets, for each query, the effort and the number of proposals that the tuning found for the depth of the query,
and a bitmap of the rows that it may propose. ``tuning`` measures the levels; ``approximate`` searches with them.

Legend: Q queries · W queries to search now · M proposals · n items · E excluded rows · D dimensions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

_MAX_RATIO, _FEW_QUERIES = 12, 128  # up to so many queries, levels share a call while proposals differ by this ratio
_QUERIES_PER_CALL = 256  # what FAISS keeps of each query stays in the cache (2,048 take a tenth longer)
_faiss: Any = faiss  # its types are incomplete


class RecallTarget(NamedTuple):
    """The recall that an index is tuned to."""

    recall: float  # share of the exact answer that a search finds
    deepest: int  # up to this many results, filtered ones included; deeper searches are scans
    scanned: int  # topics of up to this many items are scanned


DEFAULT_TARGET = RecallTarget(recall=0.97, deepest=10_000, scanned=100_000)


class Level(NamedTuple):
    """The search parameters for ``depth`` results, and the recall measured with them."""

    depth: int
    effort: int  # nprobe of inverted lists
    proposals: int  # candidates that are rescored with their full vectors
    recall: float  # on the queries used for tuning
    at_least: float  # lower bound of that recall, 95 % confidence
    checked: float  # recall on the queries held out from tuning
    height: float | None = None  # standard deviations of the last exact result above the mean score


class TopicLevel(NamedTuple):
    """How a topic of more than ``RecallTarget.scanned`` items is searched."""

    topic: int
    items: int
    recall: float  # of the search, on queries held out from tuning
    scanned: bool  # because that recall is too low


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
    topics: tuple[TopicLevel, ...] = ()

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

        Args:
            depth_Q: the depth of every query.
            pending_W: the queries to search.

        Yields:
            The levels of a group and its queries; None for queries that are deeper than every level.
        """
        position_W = self.level_positions(depth_Q[pending_W])
        max_ratio = _MAX_RATIO if len(position_W) <= _FEW_QUERIES else 1
        calls: list[list[int]] = []
        for position in sorted(set(position_W.tolist())):
            is_tuned = position < len(self.levels)
            if (
                calls
                and is_tuned
                and self.levels[position].proposals <= max_ratio * self.levels[calls[-1][0]].proposals
            ):
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

    def is_scanned(self, topic: int, items: int) -> bool:
        """Return whether a topic of ``items`` items is searched by a scan."""
        return items <= self.target.scanned or any(level.scanned for level in self.topics if level.topic == topic)

    def to_record(self) -> dict[str, Any]:
        """Return the tuning as JSON values."""
        return {
            "levels": [level._asdict() for level in self.levels],
            "promise": self.target._asdict(),
            "tuned_on": self.tuned_on,
            "queries": self.queries,
            "checked_on": self.checked_on,
            "topics": [topic._asdict() for topic in self.topics],
        }


def tuning_from_record(record: dict[str, Any]) -> Tuning:
    """Return the tuning that ``Tuning.to_record`` wrote.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it did not write this.
    """
    levels = tuple(Level(**level) for level in record["levels"])
    numbers = np.array([level[:3] for level in levels]).reshape(-1, 3)  # depth, effort, proposals
    if levels and (numbers.dtype.kind != "i" or numbers.min() < 0 or (np.diff(numbers[:, 0]) <= 0).any()):
        raise ValueError("levels do not ascend")
    return Tuning(
        levels,
        RecallTarget(**record["promise"]),
        record["tuned_on"],
        record["queries"],
        record["checked_on"],
        tuple(TopicLevel(**topic) for topic in record["topics"]),
    )


class Engine(Protocol):
    """Proposes candidates; the more effort, the better they are."""

    def efforts(self) -> Sequence[int]:
        """Return the efforts to try when tuning, ascending."""
        ...

    def proposals(self, depth: int) -> Sequence[int]:
        """Return the numbers of proposals to try for ``depth`` results, ascending.

        Quantised codes misplace candidates near the last result. The coarser the codes, the more proposals make up
        for it.
        """
        ...

    def propose(
        self,
        query_QD: NDArray[np.float32],
        levels: QueryLevels,
        count_Q: NDArray[np.int64],
        allowed: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.int64]:
        """Propose candidates. The result of a query does not depend on the other queries.

        Args:
            query_QD: the queries.
            levels: how much of the corpus is searched for each query. Neither ``count_Q`` nor ``allowed`` changes that.
            count_Q: number of candidates of each query.
            allowed: a bit for each row, from the lowest bit of the first byte on: whether it may be proposed. None
                allows every row.

        Returns:
            The rows of the best candidates of each query (Q, M), distinct, in any order; −1 fills the rest.
        """
        ...


class StoredEngine(Engine, Protocol):
    """An engine that is saved in a file."""

    kind: str
    file: str

    def describe(self) -> dict[str, Any]:
        """Return the fields of ``info()`` that are specific to this engine."""
        ...

    def shape(self) -> tuple[int, int]:
        """Return the number of items and the width of their vectors."""
        ...

    def write(self, path: Path) -> None:
        """Write the engine's file to ``path``."""
        ...


@dataclass(frozen=True)
class ExcludedRows:
    """Rows of ``items`` that a search must not return: ascending, and as a bitmap that is made on first use.

    A bitmap slows the search of 4-bit lists by about 8 % (12 × 232 proposals of 1 M, 1,000 rows excluded), whatever the
    number of excluded rows. A set of ids costs as much, and has to be rebuilt from all of them.
    """

    row_E: NDArray[np.int64]
    items: int

    @cached_property
    def allowed_bits(self) -> NDArray[np.uint8] | None:
        """A bit for each row, from the lowest bit of the first byte on: whether it may be proposed; None: every row."""
        if len(self.row_E) == 0:
            return None
        is_allowed_n = np.ones(self.items, dtype=np.bool_)
        is_allowed_n[self.row_E] = False
        return np.packbits(is_allowed_n, bitorder="little")

    def with_rows(self, row_E: NDArray[np.int64]) -> "ExcludedRows":
        """Return these and further rows, which ascend and are distinct."""
        if len(row_E) == 0 or len(self.row_E) == 0:
            return self if len(row_E) == 0 else ExcludedRows(row_E, self.items)
        both = np.sort(np.concatenate([self.row_E, row_E]), kind="stable")  # merges the two sorted runs
        return ExcludedRows(both[np.diff(both, prepend=-1) > 0], self.items)


def faiss_selector(allowed: NDArray[np.uint8] | None) -> Any:  # noqa: ANN401 (FAISS has no types)
    """Return FAISS's selector of the rows whose bit is 1; None selects every row."""
    if allowed is None:
        return None
    selector = _faiss.IDSelectorBitmap(allowed)
    selector.kept_alive = allowed  # FAISS holds only a pointer to the array
    return selector
