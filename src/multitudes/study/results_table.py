"""The two result files of a study: per-user outcomes of each cell, and a record of each cell.

::

    STUDY/outcomes.parquet   data, method, seed, user_id, kind, budget, measures of evaluation.outcomes, segments
          cells.json         name, split, opened_test, machine, versions, reference, cells, tuning
          test/              the same two files for the test split, once the study has accessed it

A control is called METHOD/CONTROL. A baseline appears once for each data set, with seed −1.

Legend: B users · T topics.
"""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, held_out_users
from multitudes.data.prepared import PreparedData, Split
from multitudes.errors import ArtefactError
from multitudes.evaluation.baselines import BASELINES
from multitudes.evaluation.compare import outcomes_file
from multitudes.evaluation.targets import COHORT, Segmentation, user_segments
from multitudes.metrics import diversity
from multitudes.study.cells import Cell, read_result
from multitudes.study.comparison import SEGMENTS
from multitudes.study.grid import changed_settings

NO_SEED = -1
_KEYS = ("data", "method", "seed", "user_id", "kind", "budget")
ACTIVITY = {"core": "core", "non-core": "casual", "new": "new"}  # cohort of evaluation.targets → its name here


class FinishedCell(NamedTuple):
    """A cell that has run."""

    cell: Cell
    tuned_settings: dict[str, Any]
    error: str | None  # why it has no result
    trials: int  # of tuning


def outcomes_table(finished: Iterable[FinishedCell], cells: Path, split: Split) -> pl.DataFrame:
    """Return the per-user outcomes of all cells that have a result."""
    by_data, names = dict[str, list[Cell]](), set(BASELINES)
    for one in finished:
        names.discard(one.cell.method)  # a method of the study is no baseline beside itself
        if one.error is None:
            by_data.setdefault(one.cell.data, []).append(one.cell)
    tables = []
    for group in by_data.values():
        frames = [_cell_outcomes(cell, cells, split, () if number else names) for number, cell in enumerate(group)]
        users = segment_users(PreparedData.open(group[0].prepared), split)
        # Data without times of use have fewer columns, and so have cells of an earlier version.
        tables.append(pl.concat(frames, how="diagonal").join(users, on="user_id", how="left", validate="m:1"))
    if not tables:
        return pl.DataFrame(schema=dict.fromkeys((*_KEYS, *SEGMENTS), pl.String))
    table = pl.concat(tables, how="diagonal")
    measures = [name for name in table.columns if name not in (*_KEYS, *SEGMENTS)]
    return table.select(*_KEYS, *measures, *SEGMENTS).sort(_KEYS)


def _cell_outcomes(cell: Cell, cells: Path, split: Split, shown: Collection[str]) -> pl.DataFrame:
    """Return the outcomes of a cell, and those ``shown`` of its baselines, under the names of the study."""
    file = outcomes_file(cell.folder(cells), split)
    try:
        frame = pl.read_parquet(file, glob=False)
    except pl.exceptions.PolarsError:
        raise ArtefactError(f"{file}: damaged; remove it, and run the same command again") from None
    own, system = cell.run.method, pl.col("method")
    is_baseline = system.is_in(BASELINES) & (system != own)
    own_name = pl.when(system == own).then(pl.lit(cell.method)).otherwise(pl.lit(f"{cell.method}/") + system)
    name = pl.when(is_baseline).then(system).otherwise(own_name)
    frame = frame.filter(~is_baseline | system.is_in(list(shown)))
    seed = pl.when(is_baseline).then(NO_SEED).otherwise(cell.run.seed).cast(pl.Int32)
    return frame.with_columns(pl.col("user_id").cast(pl.String), data=pl.lit(cell.data), method=name, seed=seed)


def cell_record(one: FinishedCell, cells: Path, split: Split) -> dict[str, Any]:
    """Return the record of a cell for cells.json."""
    cell, result = one.cell, read_result(one.cell.folder(cells), split) or {}
    training = ("train_seconds", "targets_per_s", "epochs", "best_epoch", "code")
    measured = (*training, "parameters", "vectors_per_user", "p90_ms", "interests")
    return {
        "data": cell.data,
        "method": cell.method,
        "seed": cell.run.seed,
        "status": "done" if one.error is None else "failed",
        "error": one.error,
        "digest": cell.digest,
        "training": cell.training_digest,
        "settings": changed_settings(cell.run, cell.retrieve),
        "tuned": one.tuned_settings,
        "trials": one.trials,
        **{name: result.get(name) for name in measured},
    }


def segment_users(prepared: PreparedData, split: Split) -> pl.DataFrame:
    """Return user_id (as text), activity, history and tastes of every user with targets in ``split``.

    Activity is null if the log has no timestamps.
    """
    held = held_out_users(prepared, split)
    segmentations = user_segments(prepared, held, split)
    cohort = segmentations.get("cohort", Segmentation(COHORT, np.full(len(held), -1)))
    activity = Segmentation(tuple(ACTIVITY[name] for name in cohort.names), cohort.label_B)
    return pl.DataFrame(
        {
            "user_id": prepared.user_ids[held.user_B].cast(pl.String),
            "activity": _segment_labels(activity),
            "history": _segment_labels(segmentations["history"]),
            "tastes": tercile_labels(effective_topics(prepared, held)),
        },
        schema=dict.fromkeys(("user_id", "activity", "history", "tastes"), pl.String),
    )


def tercile_labels(value_B: NDArray[np.float64]) -> list[str]:
    """Return each user's tercile, labelled by its lowest and highest value: 2.0-4.1.

    The boundaries depend on the data set: if items have many topics, all users have many tastes. Users with equal
    values share a tercile, so the three are only roughly of equal size.
    """
    edges = np.unique(np.quantile(value_B, [1 / 3, 2 / 3])) if len(value_B) else np.empty(0)
    tercile_B = np.searchsorted(edges, value_B)
    of_tercile = {tercile: value_B[tercile_B == tercile] for tercile in np.unique(tercile_B).tolist()}
    labels = {tercile: f"{found.min():.1f}-{found.max():.1f}" for tercile, found in of_tercile.items()}
    return [labels[tercile] for tercile in tercile_B.tolist()]


def effective_topics(prepared: PreparedData, held: HeldOut) -> NDArray[np.float64]:
    """Return exp(entropy) of the topics in each user's history, shape (B,); k equally frequent topics give k."""
    effective_B = np.empty(len(held))
    for b, (user, end) in enumerate(zip(held.user_B, held.end_B, strict=True)):
        item = prepared.event_item[prepared.event_offset[user] : end].astype(np.int64)
        count_1T = diversity.topic_counts(
            np.zeros(len(item), dtype=np.int64),
            item,
            prepared.item_topic_offset,
            prepared.item_topic,
            (1, prepared.n_topics + 1),
        )
        # Rounded, so that two equally frequent topics give exactly 2.
        effective_B[b] = round(float(np.exp(diversity.entropy(count_1T)[0])), 9) if count_1T.any() else 0.0
    return effective_B


def _segment_labels(segmentation: Segmentation) -> list[str | None]:
    return [segmentation.names[label] if label >= 0 else None for label in segmentation.label_B.tolist()]
