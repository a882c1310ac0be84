"""study and tune as commands: mistakes are one line, and where a study stands is one line too."""

import io
import json
import sys
import tomllib

import pytest

from multitudes import progress
from multitudes.cli.main import run
from multitudes.cli.output import StudyProgressLine
from multitudes.cli.study import _workers_text
from multitudes.study.worker_pool import WorkerPool
from multitudes.training.run_config import load_run_config
from tests.study.small import compute_here, study_file
from tests.worlds import planted

BASE = """
[model]
width = 16
history = 10
[train]
epochs = 1
batch_size = 32
in_batch = 32
uniform = 32
[evaluate]
max_users = 30
"""


class Standing:
    """A study of four cells, two of which run."""

    done, total = 1, 4

    def seconds_left(self):
        return 150.0

    def running_notes(self):
        return [("films joint seed 0", "epoch 2"), ("films plain trial 3", "")]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("columns", [20, 40, 200])
def test_on_a_terminal_one_line_is_drawn_over_and_never_wraps(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(progress, "_REDRAW_INTERVAL_S", 0)
    stream = Terminal()
    line = StudyProgressLine(stream)
    for _ in range(3):
        line(Standing())
    drawn = stream.getvalue().split("\r")[1:]
    assert len(drawn) == 3
    assert "\n" not in stream.getvalue()
    assert all(len(part) < columns for part in drawn)
    whole = "1/4 cells, 2 min left, films joint seed 0 epoch 2, films plain trial 3"
    assert drawn[0] == (whole if columns == 200 else progress.shorten(whole, columns - 1))


def test_elsewhere_it_is_a_plain_line_for_each_cell_that_ends():
    stream = io.StringIO()
    line = StudyProgressLine(stream)
    for done in (0, 0, 1):
        standing = Standing()
        standing.done = done
        line(standing)
    line.close()
    assert [text.split(",")[0] for text in stream.getvalue().splitlines()] == ["0/4 cells", "1/4 cells"]
    assert "\r" not in stream.getvalue()


@pytest.mark.parametrize(("chosen", "said"), [(None, "2 cells at a time, 4 threads each"), ("3", "OMP_NUM_THREADS=3")])
def test_a_study_says_how_many_threads_a_cell_has(chosen, said, monkeypatch):
    monkeypatch.setattr("multitudes.threads.available_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if chosen:
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    assert said in _workers_text(2)


def test_a_study_that_is_none_is_one_line(tmp_path, capsys):
    assert run(["study", str(tmp_path / "nowhere.toml")]) == 2
    assert "nowhere.toml: no such configuration file; examples/quick.toml shows one" in capsys.readouterr().err
    file = study_file(tmp_path, "[data.a]\nsample = 'movielens-small'\n[methods.clusterin]\n")
    assert run(["study", str(file), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "did you mean 'clustering'?" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", [["study", "x.toml"], ["tune", "x", "--out", "y.toml"]])
def test_without_its_extra_the_command_that_installs_it_is_named(verb, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert run(verb) == 5
    assert "pip install 'multitudes[study]'" in capsys.readouterr().err


def test_tune_refuses_an_unknown_method_and_an_existing_file(tmp_path, capsys):
    out = tmp_path / "best.toml"
    call = ["tune", str(planted()[1].path), "--out", str(out), "--trials", "1"]
    assert run([*call, "--method", "joitn"]) == 2
    assert "did you mean 'joint'?" in capsys.readouterr().err
    out.write_text("")
    assert run(call) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["best.toml"]


@pytest.mark.slow
def test_tune_writes_settings_that_train_takes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(WorkerPool, "run", compute_here)
    (tmp_path / "base.toml").write_text(BASE)
    out, data = tmp_path / "best.toml", str(planted()[1].path)
    tune = ["tune", data, "--method", "single", "--trials", "2", "--config", str(tmp_path / "base.toml")]
    tune += ["--out", str(out)]
    assert run([*tune, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    best = max(found["trials"], key=lambda trial: trial["score"])
    settings = tomllib.loads(out.read_text())
    assert settings["model"] == {"width": 16, "history": 10, "dropout": best["settings"]["model.dropout"]}
    assert settings["train"]["learning_rate"] == best["settings"]["train.learning_rate"]
    taken = load_run_config("single", 0, out)  # as `multitudes train --config` reads it
    assert taken.train.learning_rate == best["settings"]["train.learning_rate"]
    assert taken.model.dropout == best["settings"]["model.dropout"]
