"""What a cell leaves in its result: how good, at what cost, and how its interests are.

Legend: Q requests.

``python -m multitudes.study.worker FOLDER``: one cell in a process of its own.

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
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from multitudes.atomic import write_json
from multitudes.batches.held_out import HeldOut, held_out_users, select_users
from multitudes.config import parse
from multitudes.data.prepared import PreparedData, Split
from multitudes.errors import INTERRUPTED_EXIT_CODE, ArtefactError, MissingError, MultitudesError, is_disk_full
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import Evaluation, evaluate
from multitudes.evaluation.outcomes import write_outcomes
from multitudes.evaluation.pair import METHOD as PAIR
from multitudes.evaluation.pair import Member, evaluate_pair
from multitudes.evaluation.scorer import catalogue, user_vectors
from multitudes.evaluation.targets import seen_items, subsample
from multitudes.locks import lock
from multitudes.pinnersage.clustering import PinnerSageConfig
from multitudes.pinnersage.run import METHOD as PINNERSAGE
from multitudes.pinnersage.run import make_pinnersage_run
from multitudes.progress import Progress
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.search import find_candidates
from multitudes.study.cells import outcomes_file, read_result, result_file
from multitudes.study.config import Metric
from multitudes.study.provenance import code_digest, record_code, training_code
from multitudes.training.config import RunConfig
from multitudes.training.execution import ExecutionConfig
from multitudes.training.loop import train
from multitudes.training.runs import Run, open_run
from multitudes.training.trained_run import TrainedRun, named_weights

_FIGURES: tuple[Metric, ...] = ("hr", "recall", "ndcg", "topics")
_TIMED_REQUESTS = 200  # timed; enough for a ninth decile
_SAMPLE_SEED = 0  # of the users who are timed: the same for every method


def summarise_evaluation(result: dict[str, Any], runs: Sequence[Path]) -> dict[str, Any]:
    """Return the figures of an evaluation that a study lists, with those of the trainings behind it."""
    budget, own = result["budget"], result["methods"][result["method"]]
    epochs = [of_run for of_run in map(_read_epochs, runs) if of_run]  # none: nothing was trained
    return {
        "budget": budget,
        "users": result["users"],
        "score": {figure: own[f"{figure}@{budget}"]["mean"] for figure in _FIGURES},
        "interests": result["interests"],
        "train_seconds": sum((of_run[-1]["seconds"] for of_run in epochs), 0.0),
        # Of two runs there is no one speed.
        "targets_per_s": round(fmean(e["targets_per_s"] for e in epochs[0]), 1) if len(epochs) == 1 else None,
    }


def _read_epochs(run: Path) -> list[dict[str, Any]]:
    metrics = run / "metrics.jsonl"
    return [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()] if metrics.exists() else []


def measure_costs(run: Run, retrieve: RetrieveConfig, split: Split, n: int) -> dict[str, Any]:
    """Return the size of a model, the vectors that its users have, and what one request for ``n`` candidates takes."""
    config = with_run_defaults(retrieve, run.shares, run.blend)
    items = catalogue(run, run.item_vectors())
    users = subsample(held_out_users(run.prepared, split), _TIMED_REQUESTS, _SAMPLE_SEED)
    seen = seen_items(run.prepared, users)
    vectors, ms = [], []
    for b in range(len(users)):
        one: HeldOut = select_users(users, np.array([b]))
        began_s = time.perf_counter()
        vectors_1KD = user_vectors(run, one, config)
        find_candidates(vectors_1KD, items, n, seen[b : b + 1], config)
        ms.append(1000 * (time.perf_counter() - began_s))
        vectors.append(int(vectors_1KD.mask_BK.sum()))
    return {
        "parameters": sum(t.numel() for t in named_weights(run.model).values()) if isinstance(run, TrainedRun) else 0,
        "vectors_per_user": round(float(np.mean(vectors)), 2),
        "p90_ms": round(float(np.percentile(ms, 90)), 3),
    }


def add_costs(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the costs of runs that are asked one after the other; those of one run are its own."""
    return {key: round(sum(one[key] for one in each), 3) for key in each[0]}


_PROGRESS_INTERVAL_S = 0.5  # between two lines of progress
_EXECUTION = ExecutionConfig(keep_state=False)  # nobody goes on from a cell


def main(folder: Path) -> int:
    """Do the cell whose job is on stdin; return the exit code."""
    # A study that a script started in the background has SIGINT ignored, and its children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder / ".lock"):  # a process that a killed study left behind may need a moment to end
            compute_cell(job, folder)
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE
    except MultitudesError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    except Exception as error:
        if not is_disk_full(error):
            raise
        print(f"{folder}: no space left on its disk; make room there", file=sys.stderr)  # noqa: T201
        return MissingError.exit_code
    return 0


def compute_cell(job: dict[str, Any], folder: Path) -> None:
    """Train, evaluate, measure what a request costs, and write the result; what is done already is not done again.

    Raises:
        MultitudesError: the cell cannot be done; its loss is not finite, for one.
    """
    split, training = job["split"], Path(job["training"])
    if read_result(folder, split) is None:
        write_json(folder / "job.json", job)
        report = _ProgressWriter()
        served = _runs_with_retrieval(job, training, report)
        evaluation = _evaluate_runs(job, served, report)
        budget = evaluation.result["budget"]
        cost = (
            add_costs([measure_costs(run, retrieve, split, budget) for run, retrieve in served])
            if job["keeps_run"]
            else {}
        )
        write_outcomes(evaluation.outcomes, outcomes_file(folder, split))
        figures = summarise_evaluation(evaluation.result, [run.path for run, _ in served])
        write_json(result_file(folder, split), figures | cost | {"code": _cell_code(training)})
    if not job["keeps_run"]:
        shutil.rmtree(training / "run", ignore_errors=True)


def _runs_with_retrieval(
    job: dict[str, Any], training: Path, report: "_ProgressWriter"
) -> list[tuple[Run, RetrieveConfig]]:
    """Return the run with the settings of its retrieval, or the two of a pair."""
    if job["run"]["method"] == PAIR:
        return [(open_run(one["run"], job["prepared"]), _retrieve_config(one["retrieve"])) for one in job["runs"]]
    training.mkdir(parents=True, exist_ok=True)
    with lock(training / ".training.lock"):  # another cell may need this training too
        return [(_train_or_open(job, training, report), _retrieve_config(job["retrieve"]))]


def _retrieve_config(settings: dict[str, Any]) -> RetrieveConfig:
    return parse(RetrieveConfig, settings, "[retrieve]")


def _evaluate_runs(
    job: dict[str, Any], served: list[tuple[Run, RetrieveConfig]], report: "_ProgressWriter"
) -> Evaluation:
    asked = parse(EvaluateConfig, job["evaluate"] | {"split": job["split"]}, "[evaluate]")
    progress: Progress = lambda done, total, _="": report(done, total, "evaluation")  # noqa: E731
    if len(served) == 1:
        return evaluate(served[0][0], asked, served[0][1], progress)
    first, second = (Member.of(run, retrieve) for run, retrieve in served)
    return evaluate_pair((first, second), job["run"]["model"]["share"], asked, progress)


def _train_or_open(job: dict[str, Any], training: Path, report: "_ProgressWriter") -> Run:
    """Return the run; interrupted training goes on, and what cannot be read is begun anew."""
    prepared, folder = PreparedData.open(job["prepared"]), training / "run"
    if not folder.exists():
        record_code(training)
    if job["run"]["method"] == PINNERSAGE:
        vectors = job["runs"][0]["run"] if job["runs"] else None
        over = parse(PinnerSageConfig, job["run"]["model"] | {"vectors": vectors}, "settings")
        return make_pinnersage_run(prepared, folder, over, seed=job["run"]["seed"], resume=True, overwrite=True)
    config = parse(RunConfig, job["run"], "settings")
    with contextlib.suppress(ArtefactError):
        return TrainedRun.open(folder, prepared.path)
    try:
        return train(prepared, config, folder, resume=True, execution=_EXECUTION, progress=report)
    except ArtefactError:
        shutil.rmtree(folder, ignore_errors=True)  # a process was killed while it made this folder
        record_code(training)
        return train(prepared, config, folder, execution=_EXECUTION, progress=report)


def _cell_code(training: Path) -> str:
    """Return which code made a cell: that of its training too, where that was another."""
    now, then = code_digest(), training_code(training)
    return now if then in (None, now) else f"{then}+{now}"


class _ProgressWriter:
    """Progress as lines on stdout, not more of them than somebody can read."""

    def __init__(self) -> None:
        self._last_written_s = 0.0

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Say how far it is."""
        now_s = time.monotonic()
        if now_s - self._last_written_s >= _PROGRESS_INTERVAL_S:
            self._last_written_s = now_s
            at = note.partition(",")[0]  # "epoch 2", without its losses
            print(json.dumps({"done": done, "total": total, "note": at}), flush=True)  # noqa: T201


def _exit_with_parent() -> None:
    """Wait until the study has closed its end, by dying if nothing else; what is saved up to here is kept."""
    os.read(sys.stdin.fileno(), 1)  # not sys.stdin: a thread that waits in it holds a lock that the exit needs
    os._exit(INTERRUPTED_EXIT_CODE)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
