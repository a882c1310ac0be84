"""A run of the method ``neighbours``: own events propose items, and no vector does. Needs no torch.

::

    RUN/run.json          as of a trained run; config.method is "neighbours"
        neighbour_*.npy   the rows, as in a release
        item_vectors.npy  singular vectors of the items (I + 1, R), which say what is similar, and rank nothing
        metrics.jsonl     one line: seconds of the fit, interactions per second

Legend: B users · I items · R width of the singular vectors.
"""

import time
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import Field

from multitudes.atomic import replace_folder
from multitudes.batches.user_vectors import UserHistories, UserVectors
from multitudes.config import Config
from multitudes.data.prepared import PreparedData
from multitudes.linear.interactions import interaction_matrix, item_factors, require_pairs
from multitudes.linear.neighbour_fit import ChosenNeighbours, choose_neighbours, fit_rows
from multitudes.linear.neighbours import NeighbourFit, Neighbours, NeighbourSource, no_vectors
from multitudes.linear.run import OneVectorRun, Validation, refit_config
from multitudes.memory_map import open_array
from multitudes.nn.methods import NEIGHBOURS, Partition
from multitudes.progress import Progress, silent
from multitudes.run_record import (
    WithoutEvents,
    append_metrics,
    needs_making,
    new_record,
    open_untrained,
    read_record,
    write_record,
)

_WIDTH: Final = 64
_VECTORS_FILE: Final = "item_vectors.npy"


class NeighboursConfig(WithoutEvents):
    """There are no settings: validation chooses all."""


class NeighboursRunConfig(Config):
    """All settings of a run; together with the prepared data they determine it. Named like those of a trained run."""

    method: Literal["neighbours"] = NEIGHBOURS
    seed: int = Field(0, description="Kept for comparisons by seed; the method draws nothing.")
    model: NeighboursConfig = NeighboursConfig()
    neighbour_fit: NeighbourFit | None = Field(
        None, description="Of the run before, which validation chose; fit on validation events too."
    )


class NeighboursRun(OneVectorRun[NeighboursRunConfig]):
    """The neighbours of a prepared data set, which propose alone."""

    neighbours: NeighbourSource

    @classmethod
    def open(cls, path: str | Path, prepared: str | Path | None = None) -> "NeighboursRun":
        """Open a run; see ``training.runs.open_run``."""
        folder, data, config = open_untrained(NeighboursRunConfig, path, prepared)
        run = cls(folder, data, config, open_array(folder / _VECTORS_FILE, np.float32, "train again", 2))
        run.neighbours = NeighbourSource(Neighbours.open(folder, data.n_items), NeighbourFit.of(read_record(folder)))
        return run

    def user_vectors(self, users: UserHistories, partition: Partition = "interests") -> UserVectors:
        """Return the vectors of B users, all of zeros; see ``retrieval.scorer.Scorer``."""
        del partition
        return no_vectors(users.positives, users.histories.item_BL.shape[1], self._vectors_ID.shape[1])


def make_neighbours_run(
    prepared: PreparedData,
    out: str | Path,
    *,
    seed: int = 0,
    refit: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> NeighboursRun:
    """Fit neighbours on the training events; the arguments are those of ``linear.run.make_linear_run``.

    Raises:
        UsageError: ``out`` exists, or a setting of ``refit`` is wrong.
        DataError: no user engaged with two items in training.
        ArtefactError: ``out`` should be replaced and is not a run, or ``refit`` is none.
    """
    folder, config = Path(out), NeighboursRunConfig(seed=seed)
    if refit is not None:
        config = refit_config(NeighboursRunConfig, Path(refit), seed, "neighbour_fit", NeighbourFit)
    record = new_record(prepared, config.model_dump(mode="json"))
    if not needs_making(folder, record, resume=resume, overwrite=overwrite):
        return NeighboursRun.open(folder, prepared.path)
    started_s = time.perf_counter()
    matrix = interaction_matrix(prepared, include_validation=refit is not None)
    require_pairs(matrix, prepared)
    validation = Validation.sample(prepared) if refit is None else None  # nobody is left to judge a final fit
    judged_users = 0 if validation is None else len(validation.held)
    if validation is not None and judged_users:
        found = choose_neighbours(matrix, validation.hit_rate, progress)
    else:
        settings = config.neighbour_fit or NeighbourFit()
        found = ChosenNeighbours(fit_rows(matrix, settings, progress), settings, None, [])
    vectors_IR, seconds = item_factors(matrix, _WIDTH), time.perf_counter() - started_s
    outcome = {
        "finished": True,
        "judged_users": judged_users,
        "validation_hit_rate": found.hit_rate,
        "trials": found.trials,
        "items_with_vectors": int(vectors_IR.any(axis=1).sum()),
        "entries": len(found.rows.item_E),
    }
    with replace_folder(folder) as partial:
        found.rows.save(partial)
        np.save(partial / _VECTORS_FILE, vectors_IR, allow_pickle=False)
        speed = {"seconds": round(seconds, 3), "targets_per_s": round(matrix.nnz / max(seconds, 1e-9), 1)}
        append_metrics(partial / "metrics.jsonl", {"epoch": 1, **speed})
        write_record(partial, record | outcome | found.settings.model_dump(mode="json"))
    return NeighboursRun.open(folder, prepared.path)
