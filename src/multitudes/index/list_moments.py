"""Mean and variance of the items of each inverted list, from which the normaliser of a vector is estimated.

Legend: Q queries · L lists · P pairs of a query and a list · D dimensions · M items of a list.
"""

from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multitudes.errors import ArtefactError
from multitudes.index import files
from multitudes.index.item_table import ItemTable

MOMENT_FILES = ("list_mean.npy", "list_variance.npy", "list_covariance.npy")

# For each pair the row of the query, the position among the query's pairs, from 0, and the number of the list.
Pairs: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


class Lists(Protocol):
    """Inverted lists; see ``inverted_lists.InvertedLists``."""

    @property
    def lists(self) -> int:
        """The number of lists."""
        ...

    @property
    def sizes(self) -> NDArray[np.int64]:
        """The number of items in each list."""
        ...

    @property
    def list_of_rows(self) -> NDArray[np.int32]:
        """The list of each row."""
        ...

    def rows_of(self, number: int) -> NDArray[np.int64]:
        """Return the rows of a list, ascending.

        Args:
            number: of the list, from 0.
        """
        ...

    def search_pairs(
        self, query_QD: NDArray[np.float32], pairs: Pairs, count: int, allowed: NDArray[np.uint8] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows of the best ``count`` codes in given lists of each query, and the codes' scores.

        Args:
            query_QD: the queries, each with a pair.
            pairs: the lists of each query, the best first.
            count: number of rows for each query.
            allowed: see ``Engine.propose``.

        Returns:
            Rows (Q, count), in any order, filled with −1, and their scores.
        """
        ...


class ListMoments(NamedTuple):
    """Mean and variance of the items of each list."""

    mean_LD: NDArray[np.float32]
    variance_L: NDArray[np.float32]  # relative to the mean of all lists
    covariance_DD: NDArray[np.float32]  # within lists

    @classmethod
    def compute(cls, table: ItemTable, engine: Lists) -> "ListMoments":
        """Compute the moments from the vectors of each list."""
        lists, width = engine.lists, table.dimension
        mean_LD, variance_L = np.zeros((lists, width)), np.zeros(lists)
        covariance_DD = np.zeros((width, width))
        for number in range(lists):
            item_MD = table.vectors_at(engine.rows_of(number)).astype(np.float64)
            if len(item_MD):
                mean_LD[number] = item_MD.mean(axis=0)
                item_MD -= mean_LD[number]
                covariance_DD += item_MD.T @ item_MD
                variance_L[number] = np.vecdot(item_MD, item_MD).mean()
        covariance_DD /= max(1, len(table))
        total = max(float(np.trace(covariance_DD)), float(np.finfo(np.float32).tiny))
        return cls(*(array.astype(np.float32) for array in (mean_LD, variance_L / total, covariance_DD)))

    @classmethod
    def load(cls, folder: Path) -> "ListMoments":
        """Open the moments in a verified folder.

        Raises:
            ArtefactError: an array is missing or damaged.
        """
        arrays = []
        for name, axes in zip(MOMENT_FILES, (2, 1, 2), strict=True):
            arrays.append(files.read_array(folder / name, np.float32, axes))
            if not np.isfinite(arrays[-1]).all():
                raise ArtefactError(f"{folder / name}: is not finite; publish the run again")
        return cls(*arrays)

    def save(self, folder: Path) -> None:
        """Write the moments into ``folder``."""
        for name, array in zip(MOMENT_FILES, self, strict=True):
            np.save(folder / name, array, allow_pickle=False)
