"""The benchmark of readouts runs as a whole, and its page is of its results."""

import json
import subprocess
import sys

import pytest
from benchmarks.machine import ROOT
from benchmarks.readout import scale
from benchmarks.readout.page import BEGIN, RESULTS, figures, written_into


def test_the_documents_figures_are_those_of_the_kept_run():
    page = (ROOT / "records" / "readout.md").read_text()
    results = json.loads(RESULTS.read_text())
    assert BEGIN in page
    assert written_into(page, results) == page
    assert not any(part["quick"] for part in results.values())


def test_a_changed_result_changes_the_page():
    """The control of the comparison above."""
    results = json.loads(RESULTS.read_text())
    results["power"]["figures"]["sum"]["users_per_arm"] += 1
    page = (ROOT / "records" / "readout.md").read_text()
    assert written_into(page, results) != page


@pytest.mark.slow
def test_parts_are_kept_one_by_one_and_make_a_page(tmp_path):
    out = tmp_path / "readout.json"
    command = [sys.executable, "-m", "benchmarks.readout", "--quick", "--out", str(out), "cuped", "radius"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    results = json.loads(out.read_text())
    assert set(results) == {"cuped", "radius"}
    assert {"machine", "versions", "seeds", "load"} <= set(results["cuped"])
    assert any("CUPED takes off" in line for line in figures(json.loads(RESULTS.read_text()) | results))


@pytest.mark.slow
def test_a_large_experiment_is_made_and_read_in_processes_of_their_own(tmp_path):
    found = scale.measure(scale.Sizes(20_000, 1_000), tmp_path)
    assert found["peak_mib"] > 0
    assert set(found["lift"]) == set(scale.METRICS)
    assert all(lift is not None for lift in found["lift"].values())
