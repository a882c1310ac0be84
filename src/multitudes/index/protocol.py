"""The seam between retrieval and nearest-neighbour engines: what every index promises.

Legend: Q queries · N results asked for · D dimensions · n items held.

The promise, tested on every implementation by ``tests/index/test_contract.py``: best first, ties by the smaller id; as
many as asked for whenever the index holds them after the exclusion; never a hole, never an excluded id; equal answers
for a query alone and in a batch. The score is the inner product.

Two things are foreseen and deliberately not here yet: a limit per query and a topic per query. Both would be further
keyword arguments of ``search``, with ``None`` for today's meaning.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

NO_ID = -1  # fills a row of Hits beyond its count


class Hits(NamedTuple):
    """What Q queries found, best first. A row that found fewer than N ends in ``NO_ID`` and minus infinity."""

    id_QN: NDArray[np.int64]
    score_QN: NDArray[np.float32]
    count_Q: NDArray[np.int64]
    log_sum_Q: NDArray[np.float32] | None = None  # log Σ exp(score) over all items, where it was asked for and is known

    def ids(self, query: int) -> NDArray[np.int64]:
        """Return the ids that one query found, without the fill."""
        return self.id_QN[query, : self.count_Q[query]]

    def scores(self, query: int) -> NDArray[np.float32]:
        """Return the scores of ``ids(query)``."""
        return self.score_QN[query, : self.count_Q[query]]

    def rows(self, chosen: slice) -> "Hits":
        """Return what some of the queries found."""
        log_sum_Q = None if self.log_sum_Q is None else self.log_sum_Q[chosen]
        return Hits(self.id_QN[chosen], self.score_QN[chosen], self.count_Q[chosen], log_sum_Q)


class Index(Protocol):
    """Holds vectors under int64 ids and finds those of the largest inner product."""

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int,
        *,
        excluded: Sequence[NDArray[np.int64]] | None = None,
        log_sums: bool = False,
    ) -> Hits:
        """Find the ``limit`` best ids of each query that are not in its ``excluded`` array (one array per query).

        Ids in ``excluded`` that the index does not hold are ignored; the same array may serve several queries.
        ``log_sums`` asks for ``log_sum_Q``, over all items, also the excluded ones; an index that does not compute
        every score leaves it out.

        Raises:
            UsageError: the queries have another width than the index, or ``excluded`` another length than the queries.
            DataError: a query is not finite.
        """
        ...

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the float32 vectors of ``ids``, one row each.

        Raises:
            UsageError: an id is not in the index.
        """
        ...

    def ids(self) -> NDArray[np.int64]:
        """Return every id, ascending."""
        ...

    def __len__(self) -> int:
        """Return the number of items."""
        ...

    def info(self) -> dict[str, Any]:
        """Describe the index for people and manifests: kind, items, dimension, and what was tuned on what."""
        ...

    def save(self, folder: Path) -> None:
        """Write the index into ``folder``, which must exist, with a checksum for every file."""
        ...
