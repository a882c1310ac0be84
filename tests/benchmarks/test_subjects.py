import json
import subprocess
import sys

import pytest
from benchmarks.machine import ROOT
from benchmarks.page import SECTIONS, page

from benchmarks import train
from multitudes.progress import silent


def bench(*arguments):
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_each_subject_leaves_one_record_and_a_second_run_replaces_it(tmp_path):
    out = tmp_path / "results.json"
    for _ in range(2):
        assert bench("start", "--quick", "--out", str(out)).returncode == 0
    (record,) = json.loads(out.read_text())
    assert record["name"] == "start"
    assert {"machine", "versions", "seeds", "threads", "load", "figures"} <= set(record)
    assert page([record], "results.json").count("\n## ") == 1


def test_an_unknown_subject_is_a_wrong_call_and_the_known_ones_are_named():
    done = bench("strat")
    assert done.returncode == 2
    assert "unknown subject 'strat'; known: start, train" in done.stderr


@pytest.mark.slow
def test_the_parts_of_a_training_share_its_whole_time(tmp_path):
    figures = train.measure(train.QUICK, tmp_path, silent)
    assert json.loads(json.dumps(figures, allow_nan=False))["settings"]
    assert SECTIONS["train"][1](figures)
    for run in figures["runs"]:
        assert sum(run["parts"].values()) == pytest.approx(1, abs=0.05), "a thread that reads ahead overlaps a little"
        assert {watched.part for watched in train.PARTS} <= set(run["parts"])
