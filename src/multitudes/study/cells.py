"""Cells: what a study computes, each kept under a digest of everything that decides its outcome.

::

    STUDY/cells/TRAINING/run/                   the run folder, see train.run
                         code                   the digest of the code that began it
                CELL/job.json                   what was asked
                     result-validation.json     what came out; written last
                     outcomes-validation.parquet
                     messages.txt               what the process said on stderr

Cells that differ in retrieval alone share one training. A trial of tuning has its training in its own folder, and keeps
nothing of it. A cell that has its result is never computed again, whichever study file asks for it;
``result-test.json`` joins it when the test split is opened.
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
from multitudes.data.prepared import PreparedData, Split
from multitudes.errors import ArtefactError
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.pair import PairRunConfig
from multitudes.pinnersage.run import PinnerSageRunConfig
from multitudes.retrieval.config import RetrieveConfig
from multitudes.run_record import data_digest, read_record
from multitudes.training.config import RunConfig

AnyRunConfig = RunConfig | PinnerSageRunConfig | PairRunConfig


@dataclass(frozen=True)
class Cell:
    """A training and how it is asked: method × data set × seed, or one trial of tuning."""

    data: str
    method: str  # its name in the study
    prepared: Path
    data_digest: str
    run: AnyRunConfig
    retrieve: RetrieveConfig
    evaluate: EvaluateConfig
    trial: int | None = None  # from 1; None: not a trial
    base_cells: tuple[
        "Cell", ...
    ] = ()  # the cells that it is made of: whose item vectors are clustered, or the two of a pair

    @property
    def label(self) -> str:
        """What it is called while it runs."""
        part = f"seed {self.run.seed}" if self.trial is None else f"trial {self.trial}"
        return f"{self.data} {self.method} {part}"

    @property
    def training_inputs(self) -> dict[str, Any]:
        """Everything that decides the training, as JSON knows it; names are not among it."""
        return {
            "data": self.data_digest,
            "run": self.run.model_dump(mode="json"),
            "versions": {"multitudes": __version__, "torch": str(torch.__version__)},
            "over": [one.training_digest for one in self.base_cells],
        }

    @property
    def retrieval_settings(self) -> dict[str, Any]:
        """How it is retrieved; what is left open takes the default that suits the run, so it stays open on the way."""
        return self.retrieve.model_dump(mode="json", exclude_unset=True)

    @property
    def inputs(self) -> dict[str, Any]:
        """Everything that decides the outcome."""
        return self.training_inputs | {
            "retrieve": self.retrieval_settings,
            "over_served": [one.retrieval_settings for one in self.base_cells],
            "evaluate": self.evaluate.model_dump(mode="json", exclude={"split"}),
            "keeps_run": self.trial is None,
        }

    @cached_property
    def training_digest(self) -> str:
        """What its training is kept under, together with all cells that differ in retrieval alone."""
        return _json_digest(self.training_inputs)

    @cached_property
    def digest(self) -> str:
        """The name of its folder."""
        return _json_digest(self.inputs)

    def folder(self, cells: Path) -> Path:
        """Return where it lies."""
        return cells / self.digest

    def training_folder(self, cells: Path) -> Path:
        """Return where its training lies."""
        return cells / (self.training_digest if self.trial is None else self.digest)

    def job(self, split: Split, cells: Path) -> dict[str, Any]:
        """Return what its process is told."""
        runs = [
            {"run": str(one.training_folder(cells) / "run"), "retrieve": one.retrieval_settings}
            for one in self.base_cells
        ]
        told = {"label": self.label, "prepared": str(self.prepared), "split": split, "runs": runs}
        return told | {"training": str(self.training_folder(cells)), **self.inputs}


def _json_digest(asked: dict[str, Any]) -> str:
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def result_file(folder: Path, split: Split) -> Path:
    """Return where a cell keeps what came out."""
    return folder / f"result-{split}.json"


def outcomes_file(folder: Path, split: Split) -> Path:
    """Return where a cell keeps what each user got."""
    return folder / f"outcomes-{split}.parquet"


def read_result(folder: Path, split: Split) -> dict[str, Any] | None:
    """Return what came out of a cell; None where it is not done, or its file is damaged and it is to be done again."""
    try:
        result: dict[str, Any] = json.loads(result_file(folder, split).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return result


def is_trained(training: Path) -> bool:
    """Tell whether a training is over and its run is there."""
    with contextlib.suppress(ArtefactError):
        return bool(read_record(training / "run").get("finished"))
    return False


def prepared_digest(prepared: Path) -> str:
    """Return the digest of a prepared data set."""
    return data_digest(PreparedData.open(prepared))
