"""``python -m multitudes.study.cell FOLDER``: one cell in a process of its own.

The job comes as one line of JSON on stdin; stdin then stays open for as long as the study lives, so that no cell
outlives it. Progress goes to stdout as lines of JSON, messages to stderr, the result into the folder.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from multitudes.batches.pinnersage import PinnerSageConfig
from multitudes.config import parse
from multitudes.data.prepared import Prepared
from multitudes.disk import is_full, write_json
from multitudes.errors import INTERRUPTED, ArtefactError, MissingError, MultitudesError
from multitudes.evaluate.config import EvaluateConfig
from multitudes.evaluate.evaluate import Evaluation, evaluate
from multitudes.evaluate.outcomes import write
from multitudes.evaluate.pair import METHOD as PAIR
from multitudes.evaluate.pair import Member, evaluate_pair
from multitudes.locks import locked
from multitudes.progress import Progress
from multitudes.retrieve.plan import RetrieveConfig
from multitudes.study.cells import outcomes_file, read_result, result_file
from multitudes.study.code import begin, code_digest, code_of
from multitudes.study.result import costs, summary, together
from multitudes.train.config import RunConfig
from multitudes.train.execution import ExecutionConfig
from multitudes.train.loop import train
from multitudes.train.pinnersage import METHOD as PINNERSAGE
from multitudes.train.pinnersage import make
from multitudes.train.run import TrainedRun
from multitudes.train.runs import Run, open_run

_EVERY_S = 0.5  # between two lines of progress
_EXECUTION = ExecutionConfig(keep_state=False)  # nobody goes on from a cell


def main(folder: Path) -> int:
    """Do the cell whose job is on stdin; return the exit code."""
    # A study that a script started in the background has SIGINT ignored, and its children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_study, daemon=True).start()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock"):  # a process that a killed study left behind may need a moment to end
            do(job, folder)
    except KeyboardInterrupt:
        return INTERRUPTED
    except MultitudesError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    except Exception as error:
        if not is_full(error):
            raise
        print(f"{folder}: no space left on its disk; make room there", file=sys.stderr)  # noqa: T201
        return MissingError.exit_code
    return 0


def do(job: dict[str, Any], folder: Path) -> None:
    """Train, evaluate, measure what a request costs, and write the result; what is done already is not done again.

    Raises:
        MultitudesError: the cell cannot be done; its loss is not finite, for one.
    """
    split, training = job["split"], Path(job["training"])
    if read_result(folder, split) is None:
        write_json(folder / "job.json", job)
        report = _Report()
        served = _served(job, training, report)
        evaluation = _evaluated(job, served, report)
        budget = evaluation.result["budget"]
        cost = together([costs(run, retrieve, split, budget) for run, retrieve in served]) if job["keeps_run"] else {}
        write(evaluation.outcomes, outcomes_file(folder, split))
        figures = summary(evaluation.result, [run.path for run, _ in served])
        write_json(result_file(folder, split), figures | cost | {"code": _code(training)})
    if not job["keeps_run"]:
        shutil.rmtree(training / "run", ignore_errors=True)


def _served(job: dict[str, Any], training: Path, report: "_Report") -> list[tuple[Run, RetrieveConfig]]:
    """Return the run with the settings of its retrieval, or the two of a pair."""
    if job["run"]["method"] == PAIR:
        return [(open_run(one["run"], job["prepared"]), _retrieve(one["retrieve"])) for one in job["runs"]]
    training.mkdir(parents=True, exist_ok=True)
    with locked(training / ".training.lock"):  # another cell may need this training too
        return [(_trained(job, training, report), _retrieve(job["retrieve"]))]


def _retrieve(settings: dict[str, Any]) -> RetrieveConfig:
    return parse(RetrieveConfig, settings, "[retrieve]")


def _evaluated(job: dict[str, Any], served: list[tuple[Run, RetrieveConfig]], report: "_Report") -> Evaluation:
    asked = parse(EvaluateConfig, job["evaluate"] | {"split": job["split"]}, "[evaluate]")
    progress: Progress = lambda done, total, _="": report(done, total, "evaluation")  # noqa: E731
    if len(served) == 1:
        return evaluate(served[0][0], asked, served[0][1], progress)
    first, second = (Member.of(run, retrieve) for run, retrieve in served)
    return evaluate_pair((first, second), job["run"]["model"]["share"], asked, progress)


def _trained(job: dict[str, Any], training: Path, report: "_Report") -> Run:
    """Return the run; interrupted training goes on, and what cannot be read is begun anew."""
    prepared, folder = Prepared.open(job["prepared"]), training / "run"
    if not folder.exists():
        begin(training)
    if job["run"]["method"] == PINNERSAGE:
        vectors = job["runs"][0]["run"] if job["runs"] else None
        over = parse(PinnerSageConfig, job["run"]["model"] | {"vectors": vectors}, "settings")
        return make(prepared, folder, over, seed=job["run"]["seed"], resume=True, overwrite=True)
    config = parse(RunConfig, job["run"], "settings")
    with contextlib.suppress(ArtefactError):
        return TrainedRun.open(folder, prepared.path)
    try:
        return train(prepared, config, folder, resume=True, execution=_EXECUTION, progress=report)
    except ArtefactError:
        shutil.rmtree(folder, ignore_errors=True)  # a process was killed while it made this folder
        begin(training)
        return train(prepared, config, folder, execution=_EXECUTION, progress=report)


def _code(training: Path) -> str:
    """Return which code made a cell: that of its training too, where that was another."""
    now, then = code_digest(), code_of(training)
    return now if then in (None, now) else f"{then}+{now}"


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


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
