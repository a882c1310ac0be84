"""Cells: the trainings of a study, each kept under a digest of everything that decides its outcome.

::

    STUDY/cells/DIGEST/job.json                 what was asked
                       run/                     the run folder, see train.run; a trial of tuning keeps none
                       result-validation.json   what came out; written last
                       outcomes-validation.parquet
                       messages.txt             what the process said on stderr

A cell that has its result is never computed again, whichever study file asks for it; ``result-test.json`` joins it when
the test split is opened.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from multitudes import __version__
from multitudes.data.prepared import Prepared, Split
from multitudes.evaluate.config import EvaluateConfig
from multitudes.retrieve.plan import RetrieveConfig
from multitudes.train.config import RunConfig
from multitudes.train.pinnersage import PinnerSageRunConfig
from multitudes.train.record import data_digest

AnyRunConfig = RunConfig | PinnerSageRunConfig


@dataclass(frozen=True)
class Cell:
    """One training and its evaluation: method × data set × seed, or one trial of tuning."""

    data: str
    method: str  # its name in the study
    prepared: Path
    data_digest: str
    run: AnyRunConfig
    retrieve: RetrieveConfig
    evaluate: EvaluateConfig
    trial: int | None = None  # from 1; None: not a trial
    over: "Cell | None" = None  # the cell whose item vectors are clustered

    @property
    def label(self) -> str:
        """What it is called while it runs."""
        part = f"seed {self.run.seed}" if self.trial is None else f"trial {self.trial}"
        return f"{self.data} {self.method} {part}"

    @property
    def asked(self) -> dict[str, Any]:
        """Everything that decides the outcome, as JSON knows it; names are not among it."""
        return {
            "data": self.data_digest,
            "run": self.run.model_dump(mode="json"),
            # What is left open takes the default that suits the run, so it must stay open on the way.
            "retrieve": self.retrieve.model_dump(mode="json", exclude_unset=True),
            "evaluate": self.evaluate.model_dump(mode="json", exclude={"split"}),
            "versions": {"multitudes": __version__, "torch": str(torch.__version__)},
            "keeps_run": self.trial is None,
            "over": self.over and self.over.digest,
        }

    @cached_property
    def digest(self) -> str:
        """The name of its folder."""
        text = json.dumps(self.asked, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def folder(self, cells: Path) -> Path:
        """Return where it lies."""
        return cells / self.digest

    def job(self, split: Split, cells: Path) -> dict[str, Any]:
        """Return what its process is told."""
        vectors = str(self.over.folder(cells) / "run") if self.over else None
        return {"label": self.label, "prepared": str(self.prepared), "split": split, "vectors": vectors, **self.asked}


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


def write_json(file: Path, record: dict[str, Any]) -> None:
    """Write ``record``, whole or not at all."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    partial.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    partial.replace(file)


def digest_of(prepared: Path) -> str:
    """Return the digest of a prepared data set."""
    return data_digest(Prepared.open(prepared))
