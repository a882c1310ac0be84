"""What a study's cells gave each user, read back from its files as arrays that are paired by user.

Legend: S seeds · B users.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from multitudes.errors import ArtefactError
from multitudes.metrics.seeds import Outcomes, Role

OUTCOMES, CELLS = "outcomes.parquet", "cells.json"
# The columns that say who a user is; a study of a log that carries order only has no activity.
SEGMENTS = ("activity", "history", "tastes")
# What is read of the measures of an evaluation; the others stay in the file.
_MEASURES = ("hits", "ndcg", "topics", "candidate_topics", "head_hits", "torso_hits", "tail_hits")
_ABOUT = ("user_id", "targets", "head_targets", "torso_targets", "tail_targets", *SEGMENTS)
_KEYS = ("method", "seed")
_REQUIRED = ("kind", "budget", *_KEYS, "user_id", "targets", "hits")


class Answers(NamedTuple):
    """All outcomes on one data set, of one kind of targets, at one budget; every array is in the order of ``users``."""

    users: pl.DataFrame  # (B): user_id, targets and those of the head, torso and tail, segments
    cells: dict[str, list[int]]  # seeds of each method
    measures: dict[str, NDArray[np.float64]]  # (cells, B), the cells in the order of ``cells``

    def outcomes(self, method: str, measure: str) -> Outcomes:
        """Return what each user got from each seed of a method."""
        start = 0
        for name, seeds in self.cells.items():
            if name == method:
                return Outcomes(self.measures[measure][start : start + len(seeds)], role(method, seeds))
            start += len(seeds)
        raise KeyError(method)

    def of_targets(self, measure: str) -> NDArray[np.float64]:
        """Return a column of ``users``, such as targets or tail_targets, shape (B,)."""
        return self.users[measure].to_numpy().astype(np.float64)


def role(method: str, seeds: list[int]) -> Role:
    """Return what a method is: ``joint/averaged`` is a control, and what has no seed learned nothing."""
    return "control" if "/" in method else "baseline" if seeds == [-1] else "method"


def read_cells(study: Path) -> dict[str, Any]:
    """Read what a study did.

    Raises:
        ArtefactError: the file is missing or damaged.
    """
    file = study / CELLS
    try:
        cells = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactError(f"{study}: no study here ({CELLS} is missing); make one with: multitudes study") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ArtefactError(f"{file}: damaged; run multitudes study again") from None
    if not isinstance(cells, dict) or not {"cells", "reference"} <= cells.keys():
        raise ArtefactError(f"{file}: not the record of a study; run multitudes study again")
    return cells


def read_answers(study: Path, data: str) -> Iterator[tuple[str, int, Answers]]:
    """Yield the outcomes on a data set, by kind of targets and budget.

    Raises:
        ArtefactError: the file is missing or damaged, or its cells asked different users.
    """
    file = study / OUTCOMES
    try:
        wanted = cs.by_name("kind", "budget", *_KEYS, *_ABOUT, *_MEASURES, require_all=False)
        frame = pl.scan_parquet(file).filter(pl.col("data") == data).select(wanted).collect()
    except FileNotFoundError:
        raise ArtefactError(f"{study}: {OUTCOMES} is missing; run multitudes study again") from None
    except pl.exceptions.PolarsError as error:
        raise ArtefactError(f"{file}: cannot be read ({error}); run multitudes study again") from None
    if missing := [name for name in _REQUIRED if name not in frame.columns]:
        raise ArtefactError(f"{file}: no column '{missing[0]}'; run multitudes study again")
    for (kind, budget), part in sorted(frame.partition_by("kind", "budget", as_dict=True).items()):
        yield str(kind), int(budget), answers_of(part, f"{file}: {data}")


def answers_of(part: pl.DataFrame, where: str) -> Answers:
    """Return the outcomes of one data set, kind and budget; ``where`` names them in the error.

    Raises:
        ArtefactError: the cells asked different users.
    """
    ordered = part.sort(*_KEYS, "user_id")
    question = pl.struct("user_id", "targets").hash().sum().alias("question")
    asked = ordered.group_by(*_KEYS, maintain_order=True).agg(pl.len(), question)
    if asked["len"].n_unique() > 1 or asked["question"].n_unique() > 1:
        raise ArtefactError(
            f"{where}: methods or seeds were asked about different users or targets; run multitudes study again"
        )
    n_users = len(ordered) // max(len(asked), 1)
    measured = [name for name in _MEASURES if name in ordered.columns]
    return Answers(
        users=ordered.head(n_users).select([name for name in _ABOUT if name in ordered.columns]),
        cells={str(m): s for m, s in asked.group_by("method", maintain_order=True).agg("seed").iter_rows()},
        measures={name: ordered[name].to_numpy().astype(np.float64).reshape(-1, n_users) for name in measured},
    )
