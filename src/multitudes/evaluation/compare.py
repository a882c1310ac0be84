"""Comparison of two evaluated runs, or of two methods with several seeds each: differences paired by user."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from multitudes.data.prepared import Split
from multitudes.errors import ArtefactError, UsageError
from multitudes.evaluation.outcomes import COMPARED_FIGURES, FIGURES, as_json, estimate, list_ratios

_KEYS = ["kind", "budget", "user_id"]
_MEASURES = tuple(FIGURES.get(figure, (figure,))[0] for figure in COMPARED_FIGURES)
_TARGETS = ("targets", "other_targets")  # below the line of these figures, beside the users


def compare(runs: Sequence[Path], against: Sequence[Path], split: Split = "test") -> dict[str, Any]:
    """Return each figure of ``runs`` minus that of ``against``, with intervals, by kind of targets.

    Several runs on a side are seeds of one method: each user's outcome is their mean. The interval is then one over
    users and does not cover the variance between seeds.

    Args:
        runs: folders of evaluated runs.
        against: folders of the evaluated runs to compare with.
        split: split on which they were evaluated.

    Returns:
        A JSON object: runs, against, and differences by kind of targets and figure@budget.

    Raises:
        ArtefactError: a run was not evaluated on this split.
        UsageError: the runs were not evaluated on the same users and targets.
    """
    ours, theirs = _mean_outcomes(runs, split), _mean_outcomes(against, split)
    both = ours.join(theirs, on=_KEYS, how="inner", suffix="_against", validate="1:1").sort(_KEYS)
    same_targets = (both["targets"] == both["targets_against"]).all()
    if len(both) == 0 or len(both) != len(ours) or len(both) != len(theirs) or not same_targets:
        raise UsageError(
            f"{runs[0]} and {against[0]} were evaluated on different users, targets or budgets;"
            " evaluate both on the same prepared data with the same [evaluate] settings"
        )
    return {
        "runs": [str(run) for run in runs],
        "against": [str(run) for run in against],
        "differences": {
            str(kind): _differences(users)
            for (kind,), users in both.partition_by("kind", as_dict=True, maintain_order=True).items()
        },
    }


def outcomes_file(run: Path, split: Split) -> Path:
    """Return the path of a run's outcomes per user."""
    return run / f"outcomes-{split}.parquet"


def result_file(run: Path, split: Split) -> Path:
    """Return the path of the figures of a run's evaluation."""
    return run / f"evaluation-{split}.json"


def read_result(run: Path, split: Split) -> dict[str, Any]:
    """Read the figures of an evaluation.

    Raises:
        ArtefactError: the run was not evaluated on this split, or the file is damaged.
    """
    file = result_file(run, split)
    try:
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactError(
            f"{run}: no evaluation here ({file.name} is missing);"
            f" make it with: multitudes evaluate {run} --split {split}"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ArtefactError(f"{file}: damaged; run multitudes evaluate again") from None
    return result


def _mean_outcomes(runs: Sequence[Path], split: Split) -> pl.DataFrame:
    """Return the outcomes of each user with the runs' own methods, averaged over the runs."""
    frames = []
    for run in runs:
        method = read_result(run, split)["method"]
        try:
            frame = pl.read_parquet(outcomes_file(run, split), glob=False).filter(pl.col("method") == method)
            frames.append(frame.select(*_KEYS, *_TARGETS, *_MEASURES))
        except (FileNotFoundError, pl.exceptions.ColumnNotFoundError):
            raise ArtefactError(f"{outcomes_file(run, split)}: missing or without figures; evaluate again") from None
    mean = pl.concat(frames).group_by(_KEYS).agg(pl.len().alias("runs"), pl.col(*_TARGETS, *_MEASURES).mean())
    return mean.filter(pl.col("runs") == len(runs))


def _differences(users: pl.DataFrame) -> dict[str, Any]:
    """Return the differences of one kind of targets at every budget."""
    differences: dict[str, Any] = {}
    for (budget,), rows in users.partition_by("budget", as_dict=True, maintain_order=True).items():
        targets = {name: rows[name].to_numpy() for name in _TARGETS}
        sides = [
            list_ratios({name: rows[name + suffix].to_numpy() for name in _MEASURES}, targets)
            for suffix in ("", "_against")
        ]
        estimates = estimate([side[figure] for figure in COMPARED_FIGURES for side in sides])
        for number, figure in enumerate(COMPARED_FIGURES):
            differences[f"{figure}@{budget}"] = as_json(estimates.difference(2 * number, 2 * number + 1))
    return differences
