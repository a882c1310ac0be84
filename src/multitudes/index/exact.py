"""The reference index: exact inner products in NumPy, and the default up to some tens of thousands of items."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.errors import UsageError
from multitudes.index import files
from multitudes.index.protocol import Hits
from multitudes.index.rows import Rows, checked_rows
from multitudes.index.scan import scan

KIND = "exact"


class Exact:
    """An index that computes every inner product; see ``Index`` for the promise that it keeps."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    @classmethod
    def build(cls, ids: ArrayLike, vectors: ArrayLike) -> "Exact":
        """Build from ids and vectors in any order.

        Raises:
            DataError: vectors not finite, or ids repeated.
        """
        return cls(checked_rows(ids, vectors))

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int,
        *,
        excluded: Sequence[NDArray[np.int64]] | None = None,
        log_sums: bool = False,
    ) -> Hits:
        """Find the best ``limit`` items of each query; see ``Index.search``."""
        query_QD = self._rows.queries(query_QD)
        check_excluded(query_QD, excluded)
        return scan(query_QD, self._rows.ids, self._rows.vectors_nD, limit, excluded, log_sums)

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of ``ids``."""
        return self._rows.vectors(ids)

    def ids(self) -> NDArray[np.int64]:
        """Return every id, ascending."""
        return self._rows.ids

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._rows)

    def info(self) -> dict[str, Any]:
        """Describe the index."""
        return {"kind": KIND, "items": len(self), "dimension": self._rows.dimension}

    def save(self, folder: Path) -> None:
        """Write ids, vectors and ``index.json`` into ``folder``."""
        files.save_rows(folder, self._rows)
        files.write_description(folder, self.info())

    @classmethod
    def load(cls, folder: Path) -> "Exact":
        """Open a saved index; the vectors are memory-mapped.

        Raises:
            ArtefactError: a file is missing, changed, cut or of another version.
        """
        files.read_description(folder)
        return cls(files.load_rows(folder))


def check_excluded(query_QD: NDArray[np.float32], excluded: Sequence[NDArray[np.int64]] | None) -> None:
    """Refuse an exclusion that does not belong to the queries.

    Raises:
        UsageError: another number of arrays than of queries.
    """
    if excluded is not None and len(excluded) != len(query_QD):
        raise UsageError(f"{len(excluded)} exclusions for {len(query_QD)} queries; give one array for each query")
