"""The two files of a study: what each user got from each cell, and what each cell was and cost.

::

    STUDY/outcomes.parquet   data, method, seed, user_id, kind, budget, the measures of evaluate.outcomes, segments
          cells.json         name, split, opened_test, machine, versions, reference, cells, tuning
          test/              both again, of the test split, once it was opened

A control is called METHOD/CONTROL; what learns nothing stands once for each data set, with seed −1.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from multitudes.data.prepared import Prepared, Split
from multitudes.errors import ArtefactError
from multitudes.evaluate.baselines import BASELINES
from multitudes.study.cells import Cell, outcomes_file, read_result
from multitudes.study.config import StudyConfig
from multitudes.study.plan import differing
from multitudes.study.users import segments

NO_SEED = -1
_KEYS = ("data", "method", "seed", "user_id", "kind", "budget")
_SEGMENTS = ("activity", "history", "tastes")


class Done(NamedTuple):
    """A cell that was tried: ``error`` says why it has no result."""

    cell: Cell
    chosen: dict[str, Any]
    error: str | None
    trials: int


def outcomes(done: Iterable[Done], cells: Path, split: Split, config: StudyConfig) -> pl.DataFrame:
    """Return the table of outcomes of all cells that have a result."""
    by_data: dict[str, list[Cell]] = {}
    for one in done:
        if one.error is None:
            by_data.setdefault(one.cell.data, []).append(one.cell)
    parts = []
    for group in by_data.values():
        frames = [_of_cell(cell, cells, split, baselines=number == 0) for number, cell in enumerate(group)]
        users = segments(Prepared.open(group[0].prepared), split, config.evaluate.core_days)
        parts.append(pl.concat(frames).join(users, on="user_id", how="left", validate="m:1"))
    if not parts:
        return pl.DataFrame(schema=dict.fromkeys((*_KEYS, *_SEGMENTS), pl.String))
    table = pl.concat(parts)
    measures = [name for name in table.columns if name not in (*_KEYS, *_SEGMENTS)]
    return table.select(*_KEYS, *measures, *_SEGMENTS).sort(_KEYS)


def _of_cell(cell: Cell, cells: Path, split: Split, *, baselines: bool) -> pl.DataFrame:
    """Return the outcomes of a cell under the study's names; the baselines are the same in every cell of a set."""
    file = outcomes_file(cell.folder(cells), split)
    try:
        frame = pl.read_parquet(file)
    except pl.exceptions.PolarsError:
        raise ArtefactError(
            f"{file}: damaged; remove it, and run the same command again: it asks this cell anew"
        ) from None
    own, system = cell.run.method, pl.col("method")
    learned_nothing = system.is_in(BASELINES)
    named = (
        pl.when(learned_nothing)
        .then(system)
        .when(system == own)
        .then(pl.lit(cell.method))
        .otherwise(pl.lit(f"{cell.method}/") + system)
    )
    frame = frame if baselines else frame.filter(~learned_nothing)
    return frame.with_columns(
        pl.lit(cell.data).alias("data"),
        named.alias("method"),
        pl.when(learned_nothing).then(NO_SEED).otherwise(cell.run.seed).cast(pl.Int32).alias("seed"),
        pl.col("user_id").cast(pl.String),
    )


def records(done: Iterable[Done], cells: Path, split: Split) -> list[dict[str, Any]]:
    """Return what cells.json says of every cell."""
    return [_record(one, read_result(one.cell.folder(cells), split) or {}) for one in done]


def _record(one: Done, result: dict[str, Any]) -> dict[str, Any]:
    cell = one.cell
    measured = ("train_seconds", "parameters", "vectors_per_user", "p90_ms", "targets_per_s", "interests", "code")
    return {
        "data": cell.data,
        "method": cell.method,
        "seed": cell.run.seed,
        "status": "done" if one.error is None else "failed",
        "error": one.error,
        "digest": cell.digest,
        "training": cell.training,
        "settings": differing(cell.run, cell.retrieve),
        "tuned": one.chosen,
        "trials": one.trials,
        **{name: result.get(name) for name in measured},
    }
