"""``python -m multitudes.study.worker FOLDER``: a worker process that computes one cell.

The job arrives as one line of JSON on stdin. The study keeps stdin open while it runs, so a worker that sees it closed
exits. Messages go to stderr, and the result goes into the folder.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from multitudes.atomic import write_json
from multitudes.batches.held_out import HeldOut, held_out_users, seen_items, select_users
from multitudes.config import parse
from multitudes.data.prepared import PreparedData, Split
from multitudes.errors import INTERRUPTED_EXIT_CODE, ArtefactError, MissingError, MultitudesError, is_disk_full
from multitudes.evaluation.compare import outcomes_file
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.evaluate import evaluate
from multitudes.evaluation.list_metrics import METRICS
from multitudes.evaluation.outcomes import write_outcomes
from multitudes.evaluation.targets import subsample
from multitudes.linear.followed import make_followed_run
from multitudes.linear.neighbours_run import make_neighbours_run
from multitudes.linear.run import LinearConfig, LinearRun, make_linear_run
from multitudes.locks import lock
from multitudes.nn.methods import COMBINED, FOLLOWED, LINEAR, NEIGHBOURS, PINNERSAGE
from multitudes.pinnersage.clustering import PinnerSageConfig
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.scorer import catalogue, user_vectors
from multitudes.retrieval.search import find_candidates
from multitudes.study.cells import read_result, result_file
from multitudes.study.provenance import code_digest, record_code, training_code
from multitudes.training.combined import combine
from multitudes.training.config import RunConfig
from multitudes.training.execution import ExecutionConfig
from multitudes.training.loop import train
from multitudes.training.runs import Run, make_pinnersage_run
from multitudes.training.trained_run import TrainedRun, named_weights

_EXECUTION = ExecutionConfig(keep_state=False)  # no run of a study is continued with newer data
_TIMED_REQUESTS = 200  # enough for a 90th percentile
_SAMPLE_SEED = 0  # selects the users whose requests are timed, the same for every method


def main(folder: Path) -> int:
    """Compute the cell whose job is on stdin; return the exit code."""
    # A study started in the background by a script ignores SIGINT, and its workers would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder / ".lock"):  # the worker of a killed study may need a moment to exit
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


def _exit_with_parent() -> None:
    """Exit when the study closes stdin or dies; the checkpoints written so far remain."""
    os.read(sys.stdin.fileno(), 1)  # not sys.stdin.read: it would hold a lock that the interpreter needs to exit
    os._exit(INTERRUPTED_EXIT_CODE)


def compute_cell(job: dict[str, Any], folder: Path) -> None:
    """Train, evaluate, measure the cost of a request, and write the result; finished steps are not repeated.

    ``job`` is that of ``Cell.job``, ``folder`` that of the cell.

    Raises:
        MultitudesError: the cell cannot be computed, for example because the loss is not finite.
    """
    split, training = job["split"], Path(job["training"])
    if read_result(folder, split) is None:
        write_json(folder / "job.json", job)
        training.mkdir(parents=True, exist_ok=True)
        with lock(training / ".training.lock"):  # another cell may need this training too
            run = _train_or_open(job, training)
        config = parse(EvaluateConfig, job["evaluate"] | {"split": split}, "[evaluate]")
        retrieve = parse(RetrieveConfig, job["retrieve"], "[retrieve]")
        evaluation = evaluate(run, config, retrieve)
        costs = measure_costs(run, retrieve, split, evaluation.result["budget"]) if job["keeps_run"] else {}
        write_outcomes(evaluation.outcomes, outcomes_file(folder, split))
        figures = summarise_evaluation(evaluation.result, run.path)
        now, then = code_digest(), training_code(training)
        code = now if then in (None, now) else f"{then}+{now}"  # of the training first, if another code did that
        write_json(result_file(folder, split), figures | costs | {"code": code})
    if not job["keeps_run"]:
        shutil.rmtree(training / "run", ignore_errors=True)


def _train_or_open(job: dict[str, Any], training: Path) -> Run:
    """Return the run: resume an interrupted training, and restart one that cannot be read."""
    prepared, folder = PreparedData.open(job["prepared"]), training / "run"
    if not folder.exists():
        record_code(training)
    if job["run"]["method"] == COMBINED:
        first, second = job["runs"]
        return combine(first, second, folder, blend=job["run"]["model"]["blend"], resume=True, overwrite=True)
    if job["run"]["method"] == PINNERSAGE:
        vectors = job["runs"][0] if job["runs"] else None
        settings = parse(PinnerSageConfig, job["run"]["model"] | {"vectors": vectors}, "settings")
        return make_pinnersage_run(prepared, folder, settings, seed=job["run"]["seed"], resume=True, overwrite=True)
    if job["run"]["method"] == FOLLOWED:
        return make_followed_run(prepared, folder, seed=job["run"]["seed"], resume=True, overwrite=True)
    if job["run"]["method"] == LINEAR:
        linear = parse(LinearConfig, job["run"]["model"], "settings")
        return make_linear_run(prepared, folder, linear, seed=job["run"]["seed"], resume=True, overwrite=True)
    if job["run"]["method"] == NEIGHBOURS:
        return make_neighbours_run(prepared, folder, seed=job["run"]["seed"], resume=True, overwrite=True)
    config = parse(RunConfig, job["run"], "settings")
    with contextlib.suppress(ArtefactError):
        return TrainedRun.open(folder, prepared.path)
    try:
        return train(prepared, config, folder, resume=True, execution=_EXECUTION)
    except ArtefactError:
        shutil.rmtree(folder, ignore_errors=True)  # a worker was killed while it created this folder
        record_code(training)
        return train(prepared, config, folder, execution=_EXECUTION)


def summarise_evaluation(result: dict[str, Any], run: Path) -> dict[str, Any]:
    """Return the figures of an evaluation that a study lists, and those of the trainings behind it."""
    budget, own = result["budget"], result["methods"][result["method"]]
    files = sorted(run.rglob("metrics.jsonl"))  # none: nothing was trained
    trainings = [[json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] for file in files]
    return {
        "budget": budget,
        "users": result["users"],
        "score": {figure: own[f"{figure}@{budget}"]["mean"] for figure in ("hr", *METRICS)},
        "interests": result["interests"],
        "train_seconds": sum((epochs[-1]["seconds"] for epochs in trainings), 0.0),
        # Two runs have no common speed, and no common end.
        "targets_per_s": round(fmean(e["targets_per_s"] for e in trainings[0]), 1) if len(trainings) == 1 else None,
        **(_ending(trainings[0]) if len(trainings) == 1 else {}),
    }


def _ending(epochs: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of epochs and the best one, from 1: if that is the last, validation was still rising."""
    rates = [epoch["validation_hit_rate"] for epoch in epochs if "validation_hit_rate" in epoch]
    return {"epochs": len(epochs), "best_epoch": int(np.argmax(rates)) + 1} if len(rates) == len(epochs) else {}


def measure_costs(run: Run, retrieve: RetrieveConfig, split: Split, n: int) -> dict[str, Any]:
    """Return the model's parameters, the vectors per user, and the 90th percentile of a request's milliseconds.

    Users of the split ask, each for ``n`` candidates.
    """
    config = with_run_defaults(retrieve, run.list_defaults)
    items = catalogue(run, run.item_vectors())
    users = subsample(held_out_users(run.prepared, split), _TIMED_REQUESTS, _SAMPLE_SEED)
    seen = seen_items(run.prepared, users)
    vectors, ms = [], []
    for b in range(len(users)):
        user: HeldOut = select_users(users, np.array([b]))
        started_s = time.perf_counter()
        vectors_1KD = user_vectors(run, user, config, items)
        find_candidates(vectors_1KD, items, n, seen[b : b + 1], config)
        ms.append(1000 * (time.perf_counter() - started_s))
        vectors.append(int(vectors_1KD.mask_BK.sum()))
    return {
        "parameters": _count_parameters(run),
        "vectors_per_user": round(float(np.mean(vectors)), 2),
        "p90_ms": round(float(np.percentile(ms, 90)), 3),
    }


def _count_parameters(run: Run) -> int:
    """Return the numbers that a run has learned; none if its item vectors existed before."""
    if isinstance(run, LinearRun):
        return run.linear.input_IR.size + run.linear.output_IR.size
    count = sum(weight.numel() for weight in named_weights(run.model).values()) if isinstance(run, TrainedRun) else 0
    return count + (0 if run.neighbours is None else len(run.neighbours.rows.item_E))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
