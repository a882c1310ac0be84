"""``python -m multitudes.study.cell FOLDER``: one cell in a process of its own.

The job comes as one line of JSON on stdin; stdin then stays open for as long as the study lives, so that no cell
outlives it. Progress goes to stdout as lines of JSON, messages to stderr, the result into the folder.
"""

import contextlib
import fcntl
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from multitudes.batches.pinnersage import PinnerSageConfig
from multitudes.config import parse
from multitudes.data.prepared import Prepared
from multitudes.errors import INTERRUPTED, ArtefactError, MultitudesError
from multitudes.evaluate.config import EvaluateConfig
from multitudes.evaluate.evaluate import evaluate
from multitudes.evaluate.outcomes import write
from multitudes.retrieve.plan import RetrieveConfig
from multitudes.study.cells import outcomes_file, read_result, result_file, write_json
from multitudes.study.code import code_digest
from multitudes.study.result import costs, summary
from multitudes.train.config import RunConfig
from multitudes.train.loop import train
from multitudes.train.pinnersage import METHOD as PINNERSAGE
from multitudes.train.pinnersage import make
from multitudes.train.run import TrainedRun
from multitudes.train.runs import Run

_EVERY_S = 0.5  # between two lines of progress


def main(folder: Path) -> int:
    """Do the cell whose job is on stdin; return the exit code."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_study, daemon=True).start()
    try:
        with _locked(folder):
            do(job, folder)
    except KeyboardInterrupt:
        return INTERRUPTED
    except MultitudesError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


def do(job: dict[str, Any], folder: Path) -> None:
    """Train, evaluate, measure what a request costs, and write the result; what is done already is not done again.

    Raises:
        MultitudesError: the cell cannot be done; its loss is not finite, for one.
    """
    split = job["split"]
    if read_result(folder, split) is None:
        write_json(folder / "job.json", job)
        asked = parse(EvaluateConfig, job["evaluate"] | {"split": split}, "[evaluate]")
        retrieve = parse(RetrieveConfig, job["retrieve"], "[retrieve]")
        report, code = _Report(), code_digest()
        run = _trained(job, folder / "run", report)
        evaluation = evaluate(run, asked, retrieve, lambda done, total, _="": report(done, total, "evaluation"))
        cost = costs(run, retrieve, split, evaluation.result["budget"]) if job["keeps_run"] else {}
        write(evaluation.outcomes, outcomes_file(folder, split))
        write_json(result_file(folder, split), summary(evaluation.result, run.path) | cost | {"code": code})
    if not job["keeps_run"]:
        shutil.rmtree(folder / "run", ignore_errors=True)


def _trained(job: dict[str, Any], folder: Path, report: "_Report") -> Run:
    """Return the run; interrupted training goes on, and what cannot be read is begun anew."""
    prepared = Prepared.open(job["prepared"])
    if job["run"]["method"] == PINNERSAGE:
        over = parse(PinnerSageConfig, job["run"]["model"] | {"vectors": job["vectors"]}, "settings")
        return make(prepared, folder, over, seed=job["run"]["seed"], resume=True, overwrite=True)
    config = parse(RunConfig, job["run"], "settings")
    with contextlib.suppress(ArtefactError):
        return TrainedRun.open(folder, prepared.path)
    try:
        return train(prepared, config, folder, resume=True, progress=report)
    except ArtefactError:
        shutil.rmtree(folder, ignore_errors=True)  # a process was killed while it made this folder
        return train(prepared, config, folder, progress=report)


class _Report:
    """Progress as lines on stdout, not more of them than somebody can read."""

    def __init__(self) -> None:
        self._said_s = 0.0

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Say how far it is."""
        now_s = time.monotonic()
        if now_s - self._said_s >= _EVERY_S:
            self._said_s = now_s
            at = note.partition(",")[0]  # "epoch 2", without its losses
            print(json.dumps({"done": done, "total": total, "note": at}), flush=True)  # noqa: T201


def _end_with_the_study() -> None:
    """Wait until the study has closed its end, by dying if nothing else; what is saved up to here is kept."""
    os.read(sys.stdin.fileno(), 1)  # not sys.stdin: a thread that waits in it holds a lock that the exit needs
    os._exit(INTERRUPTED)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder: a process that a killed study left behind may need a moment to end."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
