"""Trainings that several cells share: each runs once, in one worker, and its failure fails all its cells."""

import json
import threading
import time

import pytest

from multitudes.study.cells import is_trained
from multitudes.study.config import read_study
from multitudes.study.run import run_study
from multitudes.study.worker_pool import WorkerPool
from tests.study.small import STUDY, compute_here, study_file

TURNS = '[methods.turns]\nmethod = "joint"\nretrieve.blend = "round_robin"\n'
TOP = '[methods.top]\nmethod = "joint"\nretrieve.blend = "global_top"\n'
SEPARATE = '[methods.separate]\ncombine = ["joint", "plain"]\n'
TOPICS = '[methods.topics]\nmethod = "conditional"\n[methods.both]\ncombine = ["topics", "plain"]\n'
SAGE = '[methods.pinnersage]\nover = "turns"\n'


class Worker:
    """Replaces the worker processes: trains nothing, and records which trainings ran at the same time."""

    def __init__(self, monkeypatch, failing=()):
        self.failing, self.methods, self.at_once, self.busy = failing, [], [], []
        self.lock = threading.Lock()
        monkeypatch.setattr(WorkerPool, "run", self.run)

    def run(self, cell, split):
        del split
        training = cell.training_folder(self.cells)
        with self.lock:
            self.methods.append(cell.method)
            if not is_trained(training):
                self.at_once.append([name for name in self.busy if name == training.name])
                self.busy.append(training.name)
        time.sleep(0.02)
        if cell.method in self.failing:
            return "no such luck"
        (training / "run").mkdir(parents=True, exist_ok=True)
        record = {"format": "multitudes-run", "version": 1, "finished": True}
        record |= dict.fromkeys(("config", "prepared", "prepared_digest"))
        with self.lock:  # as a run is written: another cell never sees half of it
            (training / "run.json.part").write_text(json.dumps(record))
            (training / "run.json.part").replace(training / "run" / "run.json")
        return "trained, but not evaluated"

    def study(self, folder, *more, processes=4):
        text = STUDY.replace("trials = 2", "trials = 0").replace("[model]", "\n".join([*more, "[model]"]), 1)
        self.cells = folder / "out" / "cells"
        config = read_study(study_file(folder, text + f"[run]\nprocesses = {processes}\n"))
        ended = run_study(config, folder / "out")
        return {cell["method"]: cell["error"] for cell in ended.record["cells"]}


def test_cells_that_share_a_training_never_train_it_in_parallel(tmp_path, monkeypatch):
    worker = Worker(monkeypatch)
    errors = worker.study(tmp_path, TURNS, TOP, SEPARATE, SAGE)
    assert not any(worker.at_once)
    assert sorted(worker.methods) == sorted(errors), "a failure after the training fails only one cell: every cell ran"
    assert max(worker.methods.index(name) for name in ("joint", "plain")) < worker.methods.index("separate")


def test_a_failing_training_runs_once_and_fails_all_its_cells(tmp_path, monkeypatch):
    worker = Worker(monkeypatch, failing=("joint", "turns"))
    errors = worker.study(tmp_path, TURNS, SEPARATE, SAGE)
    assert sorted(worker.methods) in (["joint", "plain"], ["plain", "turns"])
    assert errors["joint"] == errors["turns"] == "no such luck"
    assert errors["separate"] == "joint: no such luck"
    assert errors["pinnersage"] == "turns: no such luck"
    assert errors["plain"] == "trained, but not evaluated"


@pytest.mark.slow
def test_one_training_serves_two_methods_and_what_is_combined(tmp_path, monkeypatch):
    monkeypatch.setattr(WorkerPool, "run", compute_here)
    text = STUDY.replace("trials = 2", "trials = 0").replace("[model]", f"{TOP}{TOPICS}[model]", 1)
    ended = run_study(read_study(study_file(tmp_path, text)), tmp_path / "out")
    assert not ended.failed
    cells = {cell["method"]: cell for cell in ended.record["cells"]}
    assert cells["joint"]["training"] == cells["top"]["training"] != cells["plain"]["training"]
    assert len(list((tmp_path / "out" / "cells").glob("*/run"))) == 4
    assert cells["joint"]["train_seconds"] == cells["top"]["train_seconds"]
    assert cells["both"]["parameters"] == sum(cells[name]["parameters"] for name in ("plain", "topics"))
