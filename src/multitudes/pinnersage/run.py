"""A run of PinnerSage: existing item vectors, and the settings that cluster histories over them. Needs no torch.

::

    RUN/run.json      as of a trained run; config.method is "pinnersage"
        vectors.npy   vectors of all items (I + 1, d), at unit length; zeros: the item has none

The run has its own copy of the vectors, so it does not change when their source does.
"""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from multitudes.atomic import replace_folder
from multitudes.batches.user_vectors import InterestKind, UserHistories, UserVectors
from multitudes.config import Config
from multitudes.data.prepared import PreparedData
from multitudes.errors import ArtefactError, DataError
from multitudes.index.item_table import l2_normalize
from multitudes.memory_map import open_array
from multitudes.nn.methods import PINNERSAGE, Partition
from multitudes.pinnersage import clustering
from multitudes.pinnersage.clustering import PinnerSageConfig
from multitudes.run_record import ListDefaults, UntrainedRun, open_untrained, write_record

_VECTORS = "vectors.npy"


class PinnerSageRunConfig(Config):
    """All settings of a run; together with the prepared data they determine it. Named like those of a trained run."""

    method: Literal["pinnersage"] = PINNERSAGE
    seed: int = 0
    model: PinnerSageConfig = PinnerSageConfig()


class PinnerSageRun(UntrainedRun[PinnerSageRunConfig]):
    """Existing item vectors, over which histories are clustered."""

    controls: tuple[Partition, ...] = ("random",)  # no conditions, so none can be those of another user
    list_defaults = ListDefaults({"implicit": 1.0}, "round_robin", 0.0)  # by importance: closest to the paper

    @classmethod
    def open(cls, path: str | Path, prepared: str | Path | None = None) -> "PinnerSageRun":
        """Open a run; see ``training.runs.open_run``."""
        folder, data, config = open_untrained(PinnerSageRunConfig, path, prepared)
        vectors_ID = open_array(folder / _VECTORS, np.float32, "make the run again")
        if len(vectors_ID) != data.n_items + 1:
            raise ArtefactError(
                f"{folder / _VECTORS}: holds {len(vectors_ID) - 1} items; expected {data.n_items}; make the run again"
            )
        return cls(folder, data, config, vectors_ID)

    @cached_property
    def typical_distance(self) -> float:
        """The typical distance of two items: the unit of the setting ``distance``."""
        return clustering.typical_distance(self._vectors_ID)

    def kinds(self, topics: int) -> tuple[InterestKind, ...]:
        """Return the kind of every column of the user vectors; none is conditioned on topics."""
        del topics
        return clustering.interest_kinds(self.config.model)

    def item_inputs(self) -> NDArray[np.float32]:
        """Return the history-side input of every item (I + 1, d), which is its vector."""
        return self._vectors_ID

    def user_vectors(self, users: UserHistories, partition: Partition = "interests") -> UserVectors:
        """Return the vectors of B users; see ``retrieval.scorer.Scorer``."""
        histories, ordered_only = users.histories, self.prepared.ordered_only
        age_BL = clustering.event_ages(users.time_BL, histories.item_BL, ordered_only=ordered_only)
        return clustering.user_vectors(
            histories, age_BL, self._vectors_ID, self.config.model, self.typical_distance, partition, self.config.seed
        )


def write_run(out: Path, record: dict[str, Any], vectors_ID: NDArray[np.float32]) -> None:
    """Create or replace the folder of a run over item vectors (I + 1, d) of any length, row 0 being zeros."""
    items, width = int(vectors_ID.any(axis=1).sum()), vectors_ID.shape[1]
    with replace_folder(out) as partial:
        np.save(partial / _VECTORS, l2_normalize(vectors_ID), allow_pickle=False)
        write_record(partial, record | {"finished": True, "items_with_vectors": items, "width": width})


def item_embeddings(prepared: PreparedData) -> NDArray[np.float32]:
    """Return the items' column ``embedding`` (I + 1, d), row 0 being zeros.

    Raises:
        DataError: there is none, or it holds only zeros.
    """
    if prepared.item_embedding is None:
        raise DataError(
            f"{prepared.path}: the items have no column 'embedding'; give one vector (a list of numbers) for each item,"
            " or, for pinnersage alone, a trained run in [pinnersage] vectors (in a study: over = a trained method)"
        )
    if not prepared.item_embedding.any():
        raise DataError(f"{prepared.path}: every embedding is missing or zero; expected numbers in items, 'embedding'")
    return prepared.item_embedding
