"""Neighbours: each item is predicted by a ridge regression on its nearest neighbours alone, a model of full rank.

    score of item j = Σ over the items i of the history of w_i B_ij        B_Sj = (X_SᵀD X_S + Λ_S)⁻¹ X_SᵀD x_j

S are the nearest neighbours of j by item-kNN, X the binary interactions of training, D = n_u^(−β) the weight of a user
with n_u of them (mean 1), Λ_i = λ + α √n_i the penalty of a neighbour with n_i users, and w_i = (1 + r_i)^(−recency)
that of an item with r_i newer ones in the history. This is Steck's sparse Markov random field (NeurIPS 2019, arXiv
1910.09645) with r = 0, but for the rule of S; with every item in S it is EASE. Penalty by popularity and weight of
users follow EDLAE (NeurIPS 2020) and DAN (SIGIR 2025, arXiv 2504.05805).

Weights may be negative: they carry as much as the positive ones. Where validation wants it, the strongest entries of a
linear model of low rank are added to B: of items that hardly occur with others, a model of all items knows more. The
fit: ``linear.neighbour_fit``.

Legend: B users · U users of training · I items · S neighbours of one item · n items of one history · E entries of rows.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multitudes.batches.user_vectors import OwnEvents, UserVectors
from multitudes.data.arrays import expand_ranges
from multitudes.errors import ArtefactError
from multitudes.linear.history import KINDS_ALONE, HistoryWeights, LinearFit
from multitudes.memory_map import open_array
from multitudes.release.release import NEIGHBOUR_ARRAYS

if TYPE_CHECKING:  # a service needs no SciPy
    from scipy.sparse import csr_array

MAX_HISTORY: Final = 500  # newest items of a history that are summed
_DENSE: Final = 8  # a sum over all items is faster than a sort, up to so many items for each entry


class NeighbourWeights(HistoryWeights):
    """How much the sum over a history weighs beside the score of a vector, and its items in the sum."""

    weight: float = Field(1.0, ge=0, description="Factor of the sum.")
    recency: float = Field(0.5, ge=0, description=HistoryWeights.model_fields["recency"].description)


class NeighbourFit(NeighbourWeights):
    """The settings of neighbours that validation chose: of the fit, and of its sum. Defaults: an average set."""

    ridge: float = 300.0  # λ
    root: float = 0.0  # α
    user_exponent: float = 0.0  # β
    low_rank: LinearFit | None = None  # the model whose strongest entries are added; its recency counts for nothing
    low_rank_weight: float = Field(0.0, ge=0, description="Length of what is added, relative to that of the ridge.")


class Neighbours(NamedTuple):
    """The rows of B by item of the history: what item i adds to others, ``item_E[offset_I[i] : offset_I[i + 1]]``.

    Items of a row ascend. Row 0, the unknown item, is empty.
    """

    offset_I: NDArray[np.int64]  # I + 2
    item_E: NDArray[np.int32]
    weight_E: NDArray[np.float32]

    @property
    def n_items(self) -> int:
        """I, the number of items that were fitted."""
        return len(self.offset_I) - 2

    def save(self, folder: Path) -> None:
        """Write the rows into a folder, an array each, as in a release."""
        arrays: tuple[NDArray[Any], ...] = self
        for name, array in zip(NEIGHBOUR_ARRAYS, arrays, strict=True):
            np.save(folder / f"{name}.npy", array, allow_pickle=False)

    @classmethod
    def open(cls, folder: Path, items: int) -> "Neighbours":
        """Open the rows of so many items that ``save`` wrote, as memory maps.

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        files = {folder / f"{name}.npy": dtype for name, dtype in NEIGHBOUR_ARRAYS.items()}
        # Plain arrays over the memory maps: a slice of np.memmap costs a microsecond more.
        rows = cls(*(open_array(file, dtype, "train again").view(np.ndarray) for file, dtype in files.items()))
        if problem := rows.problem(items):
            raise ArtefactError(f"{folder / 'neighbour_offset.npy'}: {problem}; train again with --overwrite")
        return rows

    def problem(self, items: int) -> str:
        """Return what is wrong with the rows of so many items, in a few words; empty: nothing."""
        offset_I, entries = self.offset_I, len(self.item_E)
        if offset_I.ndim != 1 or len(offset_I) != items + 2:
            return f"holds rows of {max(offset_I.size - 2, 0)} items; expected {items}"
        if offset_I[0] or offset_I[-1] != entries or len(self.weight_E) != entries or (np.diff(offset_I) < 0).any():
            return f"rows that do not fit {entries:,} entries"
        return ""

    def matrix(self) -> "csr_array":
        """Return B, shape (I + 1, I + 1), in the memory of the rows."""
        from scipy.sparse import csr_array  # noqa: PLC0415 (a service needs none)

        return csr_array((self.weight_E, self.item_E, self.offset_I), shape=(self.n_items + 1,) * 2)

    def scores(self, history: "csr_array") -> NDArray[np.float32]:
        """Return the score of every item for histories (B, I + 1) of weights, in that shape."""
        dense: NDArray[np.float32] = (history @ self.matrix()).toarray().astype(np.float32, copy=False)
        return dense

    def is_scored(self) -> NDArray[np.bool_]:
        """Return which items are in a row (I + 1)."""
        return np.bincount(self.item_E, minlength=self.n_items + 1) > 0


def no_vectors(positives: Sequence[NDArray[np.int64]] | None, history_length: int, width: int) -> UserVectors:
    """Return zeros as the only vector of each user, whose own items propose alone; without items a user has none."""
    assert positives is not None, "neighbours need the items of the entire history"
    mask_BK = np.array([[len(items) > 0] for items in positives], dtype=np.bool_).reshape(-1, 1)
    zeros_BKD = np.zeros((len(positives), 1, width), dtype=np.float32)
    return UserVectors.alike(KINDS_ALONE, zeros_BKD, mask_BK, history_length)


class Terms(NamedTuple):
    """The terms of the scores of one user: what each item of the history adds to each of its neighbours."""

    place_E: NDArray[np.int64]  # of the item in the history
    item_E: NDArray[np.int32]
    term_E: NDArray[np.float32]

    def sums(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the distinct items, ascending, and the sum of the terms of each."""
        if len(self.item_E) and (width := int(self.item_E.max()) + 1) <= _DENSE * len(self.item_E):
            item_U = np.flatnonzero(np.bincount(self.item_E, minlength=width))
            return item_U, np.bincount(self.item_E, self.term_E, minlength=width)[item_U].astype(np.float32)
        order_E = np.argsort(self.item_E, kind="stable")  # rows ascend, so sorted runs are merged
        sorted_E = self.item_E[order_E]
        first = np.flatnonzero(np.diff(sorted_E, prepend=-1))
        sums = np.add.reduceat(self.term_E[order_E], first) if len(first) else self.term_E
        return sorted_E[first].astype(np.int64), sums


def history_terms(rows: Neighbours, item_n: NDArray[np.int64], weight_n: NDArray[np.float32]) -> Terms:
    """Return the terms of a history, whose items have weights; those that came after the fit have no terms."""
    counted_n = np.flatnonzero((item_n < len(rows.offset_I) - 1) & (weight_n != 0))
    start_n, end_n = rows.offset_I[item_n[counted_n]], rows.offset_I[item_n[counted_n] + 1]
    row_E, entry_E = expand_ranges(start_n, end_n)
    place_E = counted_n[row_E]
    return Terms(place_E, rows.item_E[entry_E], rows.weight_E[entry_E] * weight_n[place_E])


class NeighbourSource(NamedTuple):
    """The rows of a run or a release, and how they are summed."""

    rows: Neighbours
    weights: NeighbourWeights

    @classmethod
    def open(cls, folder: Path, record: Mapping[str, Any], items: int) -> "NeighbourSource | None":
        """Open the neighbours of a run of so many items by its record; None: it has none.

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        if not record.get("neighbours"):
            return None
        return cls(Neighbours.open(folder, items), NeighbourFit.of(record["neighbours"]))

    def terms(self, own: OwnEvents) -> Terms:
        """Return the terms of the scores that one user's events give, with the weight of the sum."""
        return history_terms(self.rows, own.item_n, np.float32(self.weights.weight) * own.weight_n)

    def scores(self, own: Sequence[OwnEvents]) -> NDArray[np.float32]:
        """Return the sums of the terms of all items for some users, shape (B, I + 1)."""
        from scipy.sparse import csr_array  # noqa: PLC0415 (a service needs none)

        item_E = np.concatenate([np.zeros(0, dtype=np.int64), *(one.item_n for one in own)])
        weight_E = np.concatenate([np.zeros(0, dtype=np.float32), *(one.weight_n for one in own)])
        offset, shape = np.cumsum([0, *(len(one.item_n) for one in own)]), (len(own), self.rows.n_items + 1)
        return self.rows.scores(csr_array((np.float32(self.weights.weight) * weight_E, item_E, offset), shape=shape))
