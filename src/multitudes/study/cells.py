"""Cells of the experiment grid, each stored under a digest of all settings that affect its result.

::

    STUDY/cells/TRAINING/run/                   the run folder, see training.trained_run
                         code                   the digest of the code that started it
                CELL/job.json                   the inputs
                     result-validation.json     the result; written last
                     outcomes-validation.parquet
                     messages.txt               stderr of the worker process

Cells that differ only in retrieval share one training. A tuning trial trains in its own folder and deletes the run
afterwards. A cell that has a result is never computed again, whichever study file contains it. ``result-test.json`` is
added when the study accesses the test set.
"""

import contextlib
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from multitudes import __version__
from multitudes.data.prepared import Split
from multitudes.errors import ArtefactError
from multitudes.evaluation.config import EvaluateConfig
from multitudes.linear.followed import FollowedRunConfig
from multitudes.linear.neighbours_run import NeighboursRunConfig
from multitudes.linear.run import LinearRunConfig
from multitudes.pinnersage.run import PinnerSageRunConfig
from multitudes.retrieval.config import RetrieveConfig
from multitudes.run_record import read_record
from multitudes.training.combined import CombinedRunConfig
from multitudes.training.config import RunConfig

AnyRunConfig = (
    RunConfig | LinearRunConfig | NeighboursRunConfig | PinnerSageRunConfig | FollowedRunConfig | CombinedRunConfig
)


@dataclass(frozen=True)
class Cell:
    """One training and its evaluation: method × data set × seed, or one tuning trial."""

    data: str
    method: str  # name in the study
    prepared: Path
    data_digest: str
    run: AnyRunConfig
    retrieve: RetrieveConfig
    evaluate: EvaluateConfig
    trial: int | None = None  # from 1; None: not a trial
    # Cells that this one is built on: the one whose item vectors are clustered, or the two that are combined.
    base_cells: tuple["Cell", ...] = ()

    @property
    def label(self) -> str:
        """The name shown while the cell runs."""
        number = f"seed {self.run.seed}" if self.trial is None else f"trial {self.trial}"
        return f"{self.data} {self.method} {number}"

    @property
    def training_inputs(self) -> dict[str, Any]:
        """Everything that affects the trained weights, as JSON; the names in the study do not."""
        return {
            "data": self.data_digest,
            "run": self.run.model_dump(mode="json"),
            "versions": {"multitudes": __version__, "torch": str(torch.__version__)},
            "over": [one.training_digest for one in self.base_cells],
        }

    @property
    def retrieval_settings(self) -> dict[str, Any]:
        """Retrieval settings as JSON, without those left unset: their defaults depend on the run."""
        return self.retrieve.model_dump(mode="json", exclude_unset=True)

    @property
    def inputs(self) -> dict[str, Any]:
        """Everything that affects the result, as JSON."""
        return self.training_inputs | {
            "retrieve": self.retrieval_settings,
            "over_served": [one.retrieval_settings for one in self.base_cells],
            "evaluate": self.evaluate.model_dump(mode="json", exclude={"split"}),
            "keeps_run": self.trial is None,
        }

    @cached_property
    def training_digest(self) -> str:
        """The name of the training folder, shared by all cells that differ only in retrieval."""
        return _json_digest(self.training_inputs)

    @cached_property
    def digest(self) -> str:
        """The name of the cell's folder."""
        return _json_digest(self.inputs)

    def folder(self, cells: Path) -> Path:
        """Return the cell's folder."""
        return cells / self.digest

    def training_folder(self, cells: Path) -> Path:
        """Return the folder of the cell's training."""
        return cells / (self.training_digest if self.trial is None else self.digest)

    def job(self, split: Split, cells: Path) -> dict[str, Any]:
        """Return the job description for the worker process, as JSON."""
        runs = [str(one.training_folder(cells) / "run") for one in self.base_cells]
        job = {"label": self.label, "prepared": str(self.prepared), "split": split, "runs": runs}
        return job | {"training": str(self.training_folder(cells)), **self.inputs}


def _json_digest(inputs: dict[str, Any]) -> str:
    text = json.dumps(inputs, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def result_file(folder: Path, split: Split) -> Path:
    """Return the file with a cell's result."""
    return folder / f"result-{split}.json"


def read_result(folder: Path, split: Split) -> dict[str, Any] | None:
    """Return the result of a cell; None if there is none, or the file is damaged and the cell must run again."""
    try:
        result: dict[str, Any] = json.loads(result_file(folder, split).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return result


def is_trained(training: Path) -> bool:
    """Return whether a training has finished and its run exists."""
    with contextlib.suppress(ArtefactError):
        return bool(read_record(training / "run").get("finished"))
    return False
