"""The benchmark of a request keeps what was searched beside what it cost."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import request


def test_a_release_beside_itself_is_measured_in_full(shared_releases: Path, tmp_path: Path, monkeypatch):
    kept = tmp_path / "request.json"
    monkeypatch.setattr(request, "RESULT", kept)
    given = ["request", str(shared_releases), str(shared_releases), "--n", "5", "--users", "3", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", given)
    request.main()
    one, other = json.loads(kept.read_text())["releases"]
    assert one["vectors"] == other["vectors"] >= 1
    assert one["retrieval"] == other["retrieval"]
    assert 0 < sum(one["stages_ms"].values()) < one["p90_ms"] * len(one["stages_ms"])
    assert one["mean_ms"] == pytest.approx(other["mean_ms"], rel=20), "both were measured"
