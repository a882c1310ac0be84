"""A linear history: the vector of a linear model over a user's whole history.

    u = Σ_{i in positives} (1 + r_i)^(−recency) P_i      score of item j = u · Q_j

P and Q are the input and output vectors of ``LinearFactors``. The positives of a user are the distinct items of
the whole history with an event of positive weight, as in training, and r_i is the number of them with a later event
than i; see ``data.own_items.positive_items``.

Legend: B users · K vectors of each · n positives of one user · I items · R rank.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multitudes.atomic import write_json
from multitudes.batches.user_vectors import InterestKind, UserVectors
from multitudes.config import Config
from multitudes.errors import ArtefactError
from multitudes.memory_map import open_array

if TYPE_CHECKING:  # a service needs no SciPy
    from scipy.sparse import csr_array


class HistoryModel(Protocol):
    """A model that scores weighted histories of items."""

    def scores(self, history: "csr_array") -> NDArray[np.float32]:
        """Score all items.

        Args:
            history: the weights of the items of B histories, shape (B, I + 1).

        Returns:
            The score of every item, in that shape.
        """
        ...

    def is_scored(self) -> NDArray[np.bool_]:
        """Tell which items can be ranked.

        Returns:
            Which items can have a score that is not 0, shape (I + 1,).
        """
        ...


class LinearFactors(NamedTuple):
    """A linear model of rank R: the input and the output vector of every item; zeros: the item has none."""

    input_IR: NDArray[np.float32]  # (I + 1, R), row 0 is zero
    output_IR: NDArray[np.float32]  # (I + 1, R), row 0 is zero

    def scores(self, history: "csr_array") -> NDArray[np.float32]:
        """Return the score of every item for histories; see ``HistoryModel``."""
        scores_BI: NDArray[np.float32] = (history @ self.input_IR) @ self.output_IR.T
        return scores_BI

    def is_scored(self) -> NDArray[np.bool_]:
        """Return which items have an output vector (I + 1)."""
        return np.asarray(self.output_IR.any(axis=1))


KINDS_ALONE: Final[tuple[InterestKind, ...]] = ("unconditioned",)  # without a tower
SETTINGS_FILE: Final = "linear.json"
_INPUT_FILE, _OUTPUT_FILE = "linear_input.npy", "linear_output.npy"
_REPAIR = "train again"


class HistoryWeights(Config):
    """How much each item of a history weighs in the sum."""

    recency: float = Field(
        0.0, ge=0, description="An item with r later ones of the same user weighs (1 + r) to the power of minus this."
    )

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Return the settings that the record of a run names, among others."""
        return cls(**{name: record[name] for name in record.keys() & cls.model_fields})


def recency_weights(n: int, recency: float) -> NDArray[np.float32]:
    """Return the weight of each item of a history of ``n``, oldest first."""
    return np.arange(n, 0, -1, dtype=np.float32) ** np.float32(-recency)


class LinearFit(HistoryWeights):
    """The settings of a linear history that validation chose: of the fit, and of its sum. Defaults: an average set."""

    model: Literal["ease", "elsa"] = "ease"
    regularisation: float = 400.0  # of EASE
    normalisation: float = 0.0


class HistorySums:
    """The user side of a linear history: all that serving needs beside the index."""

    def __init__(self, input_IR: NDArray[np.float32], weights: HistoryWeights) -> None:
        """Create the sums of input vectors (I + 1, R), row 0 being zeros; a memory map will do."""
        self.input_IR = input_IR
        self.weights = weights

    def user_sums(self, positives: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return the sum of the input vectors of each user's items, weighted by recency: shape (B, R).

        Items are distinct, oldest first. Those that came after the model add nothing.
        """
        sum_BR = np.zeros((len(positives), self.input_IR.shape[1]), dtype=np.float32)
        for b, items in enumerate(positives):
            weight_n = recency_weights(len(items), self.weights.recency)
            is_known = items < len(self.input_IR)
            sum_BR[b] = weight_n[is_known] @ self.input_IR[items[is_known]]
        return sum_BR

    def user_vectors(self, positives: Sequence[NDArray[np.int64]], history_length: int) -> UserVectors:
        """Return the sums as the only vector of each user, without weights; a user whose sum has no item has none."""
        sum_BR = self.user_sums(positives)
        mask_BK = np.asarray(sum_BR.any(axis=1))[:, None]
        return UserVectors.alike(KINDS_ALONE, sum_BR[:, None], mask_BK, history_length)


class LinearHistory(HistorySums):
    """Both sides of a linear history: sums for the users, and the output vectors of the items."""

    def __init__(self, factors: LinearFactors, weights: HistoryWeights) -> None:
        super().__init__(factors.input_IR, weights)
        self.output_IR = factors.output_IR

    def save(self, folder: Path) -> None:
        """Write the linear history into a folder: two arrays, and ``linear.json`` as the last file."""
        np.save(folder / _INPUT_FILE, self.input_IR, allow_pickle=False)
        np.save(folder / _OUTPUT_FILE, self.output_IR, allow_pickle=False)
        write_json(folder / SETTINGS_FILE, self.weights.model_dump(mode="json"))

    @classmethod
    def open(cls, folder: Path) -> "LinearHistory":
        """Open a linear history that ``save`` wrote.

        Raises:
            ArtefactError: a file is missing or damaged.
        """
        factors = LinearFactors(
            *(open_array(folder / name, np.float32, _REPAIR) for name in (_INPUT_FILE, _OUTPUT_FILE))
        )
        if factors.input_IR.ndim != 2 or factors.input_IR.shape != factors.output_IR.shape:
            raise ArtefactError(
                f"{folder / _OUTPUT_FILE}: has shape {factors.output_IR.shape}; expected that of {_INPUT_FILE},"
                f" {factors.input_IR.shape}; {_REPAIR}"
            )
        file = folder / SETTINGS_FILE
        try:
            return cls(factors, HistoryWeights.model_validate_json(file.read_bytes()))
        except FileNotFoundError:
            raise ArtefactError(f"{file}: missing; {_REPAIR}") from None
        except ValueError:  # not JSON, or not these settings
            raise ArtefactError(f"{file}: damaged; {_REPAIR}") from None
