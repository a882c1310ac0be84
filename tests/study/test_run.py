"""A complete study on a small data set: its files, what it reuses, and that a kill does not change its tables."""

import fcntl
import html
import itertools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from multitudes.cli.main import run
from multitudes.data.prepared import PreparedData
from multitudes.errors import DataError, MissingError, UsageError
from multitudes.evaluation.reranked import RERANKERS
from multitudes.seeding import generator
from multitudes.study.config import read_study
from multitudes.study.run import describe_budgets, run_study
from multitudes.study.worker_pool import WorkerPool
from tests.study.small import STUDY, compute_here, study_file

MAIN = [sys.executable, "-c", "from multitudes.cli.main import main; main()"]
TIMED = {"train_seconds", "targets_per_s", "p90_ms", "code"}  # code: it may change while the tests run

pytestmark = pytest.mark.slow


@pytest.fixture
def _without_workers(monkeypatch):
    monkeypatch.setattr(WorkerPool, "run", compute_here)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Return the folder of a study that ran without interruption, and its file."""
    folder = tmp_path_factory.mktemp("study")
    file = study_file(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkerPool, "run", compute_here)
        run_study(read_study(file), folder / "out")
    return folder


def tables(out: Path):
    """Return the results of a study, without measured times."""
    record = json.loads((out / "cells.json").read_text())
    cells = [{key: value for key, value in cell.items() if key not in TIMED} for cell in record["cells"]]
    return pl.read_parquet(out / "outcomes.parquet"), cells, record["tuning"]


def no_worker(*_):
    raise AssertionError("a worker was started for a finished cell")


def test_the_table_has_every_method_of_the_same_users_trained_with_the_best_of_its_trials(uninterrupted):
    table, cells, tuning = tables(uninterrupted / "out")
    methods = table.group_by("method").agg(pl.col("seed").unique(), pl.col("user_id").n_unique()).rows_by_key("method")
    assert {"joint", "plain", "joint/averaged", "joint/random_partition", "joint/unconditioned"} <= set(methods)
    own = {name for name in methods if name.startswith("plain/")}
    assert own - {"plain/with_repeats"} == {f"plain/{name}" for name in RERANKERS}, "one vector has no other controls"
    assert methods["joint"] == methods["plain"]
    assert methods["popularity"][0] == ([-1], methods["joint"][0][1])
    keys = ["data", "method", "seed", "user_id", "kind", "budget"]
    assert table.select(keys).is_duplicated().sum() == 0
    assert table.schema["user_id"] == pl.String
    assert set(table["history"].unique()) <= {"0", "1-9", "10-49", "50+"}
    assert table["tastes"].null_count() == 0
    assert (table["hits"] <= table["targets"]).all()
    ended = [(cell["method"], cell["seed"], cell["status"]) for cell in cells]
    assert ended == [("joint", 0, "done"), ("plain", 0, "done")]
    assert [len(search["trials"]) for search in tuning] == [2, 2]
    for cell, search in zip(cells, tuning, strict=True):
        best = max(search["trials"], key=lambda trial: trial["score"])
        assert cell["tuned"] == search["best"] == best["settings"]
        settings = cell["settings"].get("train.learning_rate", 0.001)
        assert settings == best["settings"]["train.learning_rate"]
    assert cells[1]["settings"]["train.epochs"] == 2
    assert cells[0]["vectors_per_user"] > cells[1]["vectors_per_user"] == 1


def test_a_budget_too_large_for_the_corpus_is_left_out_with_a_note(uninterrupted):
    asked = json.loads((uninterrupted / "out" / "cells.json").read_text())
    items = PreparedData.open(uninterrupted / "out" / "data" / "planted").n_items  # those with an event in training
    said = f"planted: {items} items are too few for N = 200, half of them or more; evaluated: N = 5 and 20"
    assert [note for note in asked["notes"] if "items are too few" in note] == [said]
    assert all("users have a history" in note for note in asked["notes"] if note != said), "warnings of the preparation"
    assert set(pl.read_parquet(uninterrupted / "out" / "outcomes.parquet")["budget"].unique()) == {5, 20}
    assert describe_budgets("planted", (5, 20), 41) is None, "control: room for all"
    assert describe_budgets("tiny", (100,), 12) == (
        "tiny: 12 items are too few for N = 100, half of them or more; evaluated: N = 6"
    )


def test_finished_cells_are_reused(uninterrupted, monkeypatch):
    before = tables(uninterrupted / "out")
    monkeypatch.setattr(WorkerPool, "_start", no_worker)
    run_study(read_study(uninterrupted / "study.toml"), uninterrupted / "out")
    after = tables(uninterrupted / "out")
    assert_frame_equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_another_seed_is_another_cell(uninterrupted, monkeypatch):
    """Control: a result must not serve other inputs."""
    monkeypatch.setattr(WorkerPool, "_start", no_worker)
    study = read_study(uninterrupted / "study.toml")
    of_the_set = study.data["planted"].model_copy(update={"seeds": (0, 1)})
    for changed in ({"seeds": (0, 1)}, {"data": {"planted": of_the_set}}):
        with pytest.raises(AssertionError, match="a worker was started"):
            run_study(study.model_copy(update=changed), uninterrupted / "out")


@pytest.mark.usefixtures("_without_workers")
def test_the_test_set_is_accessed_on_demand_and_counted(uninterrupted):
    config, out = read_study(uninterrupted / "study.toml"), uninterrupted / "out"
    assert not list(out.rglob("*-test.*")), "no access to the test set so far"
    for _ in range(2):
        ended = run_study(config, out, open_test=True)
        assert (ended.record["split"], ended.record["opened_test"]) == ("test", 1)
    assert json.loads((out / "cells.json").read_text())["split"] == "validation"
    users = [set(pl.read_parquet(folder / "outcomes.parquet")["user_id"]) for folder in (out, out / "test")]
    assert users[0] != users[1]


def test_killed_three_times_it_has_the_same_result(uninterrupted, tmp_path, monkeypatch):
    shutil.copytree(uninterrupted / "tables", tmp_path / "tables")
    shutil.copy(uninterrupted / "study.toml", tmp_path)
    call = [*MAIN, "study", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")]
    for delay in generator(0, "deaths").uniform(0, 2, size=3):
        begun = set((tmp_path / "out").glob("cells/*"))
        process = subprocess.Popen(call, stderr=subprocess.DEVNULL)
        # Kill it at a random moment after another cell has started: at its start, in a training, in an evaluation.
        while set((tmp_path / "out").glob("cells/*")) == begun and process.poll() is None:
            time.sleep(0.01)
        time.sleep(delay)
        process.kill()
        assert process.wait() == -9, "it ended before it could be killed"
    monkeypatch.setattr(WorkerPool, "run", compute_here)
    assert run(call[len(MAIN) :]) == 0
    complete, resumed = tables(uninterrupted / "out"), tables(tmp_path / "out")
    assert_frame_equal(complete[0], resumed[0])
    assert complete[1:] == resumed[1:]


def test_changed_tables_and_another_study_in_the_folder_are_errors(uninterrupted, tmp_path):
    shutil.copytree(uninterrupted, tmp_path / "copy")
    config = read_study(tmp_path / "copy" / "study.toml")
    items = tmp_path / "copy" / "tables" / "items.parquet"
    pl.read_parquet(items).reverse().write_parquet(items)
    with pytest.raises(DataError, match=r"items.parquet changed since this study began.*--out"):
        run_study(config, tmp_path / "copy" / "out")
    with (uninterrupted / "out" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another study runs in this folder"):
            run_study(read_study(uninterrupted / "study.toml"), uninterrupted / "out")


def test_a_failing_cell_is_named_and_the_others_continue(tmp_path):
    text = STUDY.replace("trials = 2", "trials = 0").replace("train.epochs = 2", "train.learning_rate = 1e30")
    file = study_file(tmp_path, text)
    (tmp_path / "tables" / "users.parquet").unlink()
    call = [*MAIN, "study", str(file), "--out", str(tmp_path / "out"), "--json", "--open-test"]
    done = subprocess.run(call, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    (failed,) = json.loads(done.stdout.splitlines()[-1])["failed"]
    assert (failed["method"], failed["seed"]) == ("plain", 0)
    assert "the loss is" in failed["error"]
    assert "no result for 1 of 2 cells; " in done.stderr.splitlines()[-1]
    assert "multitudes: warning: planted: there is no users table: nobody follows anything" in done.stderr.splitlines()
    assert "the test split stays closed" in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "out").rglob("*-test.*"))
    assert not (tmp_path / "out" / "opened.json").exists()
    assert set(pl.read_parquet(tmp_path / "out" / "outcomes.parquet")["method"].unique()) >= {"joint", "popularity"}
    assert failed["error"] in html.unescape((tmp_path / "out" / "report.html").read_text())
    assert "\r" not in done.stderr, "no progress bar without a terminal"


@pytest.mark.usefixtures("_without_workers")
def test_without_any_result_no_result_file_is_announced(tmp_path, capsys):
    text = STUDY.replace("trials = 2", "trials = 0").replace("epochs = 3", "learning_rate = 1e30")
    assert run(["study", str(study_file(tmp_path, text)), "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert "no cell has a result, so there is nothing to compare" in printed.err.splitlines()[-1]
    assert "outcomes.parquet" not in printed.out
    assert not (tmp_path / "out" / "report.html").exists()


def test_missing_embeddings_are_an_error_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(WorkerPool, "_start", no_worker)
    text = STUDY.replace('[methods.plain]\nmethod = "single"\ntrain.epochs = 2\n', "[methods.pinnersage]\n")
    assert "pinnersage" in text
    with pytest.raises(DataError, match="the items have no column 'embedding'"):
        run_study(read_study(study_file(tmp_path, text)), tmp_path / "out")


def test_a_full_disk_stops_the_study_and_the_next_call_resumes(tmp_path, monkeypatch):
    config = read_study(study_file(tmp_path, STUDY.replace("trials = 2", "trials = 0")))
    config = config.model_copy(update={"run": config.run.model_copy(update={"processes": 1})})
    start, started = WorkerPool._start, list[Path]()

    def full(pool, folder, messages):
        monkeypatch.setattr(pool, "_program", ("-c", "raise SystemExit(5)"))
        worker = start(pool, folder, messages)
        started.append(folder)
        return worker

    with monkeypatch.context() as patch:
        patch.setattr(WorkerPool, "_start", full)
        with pytest.raises(MissingError, match="run the same command again"):
            run_study(config, tmp_path / "out")
    assert len(started) == 1, "the second cell would meet the same full disk"
    monkeypatch.setattr(WorkerPool, "run", compute_here)
    assert not run_study(config, tmp_path / "out").failed


def test_a_killed_cell_is_named_the_other_continues_and_the_next_call_computes_it(tmp_path, monkeypatch):
    config = read_study(study_file(tmp_path, STUDY.replace("trials = 2", "trials = 0")))
    start, numbers = WorkerPool._start, itertools.count()

    def kill_the_first(pool, folder, messages):
        worker = start(pool, folder, messages)
        if next(numbers) == 0:  # of two threads that come at once, one
            worker.kill()
            worker.wait()  # so that nobody reads the pipe any more
        return worker

    with monkeypatch.context() as patch:
        patch.setattr(WorkerPool, "_start", kill_the_first)
        ended = run_study(config, tmp_path / "out")
    (failed,) = ended.failed
    assert "killed by SIGKILL" in failed["error"]
    methods = set(pl.read_parquet(tmp_path / "out" / "outcomes.parquet")["method"].unique())
    assert methods & {"joint", "plain"} == {"joint", "plain"} - {failed["method"]}
    monkeypatch.setattr(WorkerPool, "run", compute_here)
    assert not run_study(config, tmp_path / "out").failed
